# SPDX-License-Identifier: Apache-2.0
"""Conversion and quantization: what llama.cpp computes from our files equals what other implementations compute.

The references are numpy and the tokenizers package (tests/tools); llama.cpp speaks through the program gguf_eval. A real
model (all-MiniLM-L6-v2), real vocabularies (llama.cpp's own), and tiny random models of every architecture.
"""

import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from harness.daemon import BUILD, ROOT, ROUNDHOUSE, clean_environment
from harness.wait import poll, scaled

sys.path.insert(0, str(ROOT / "tests" / "tools"))

import make_tiny_hf as tiny  # noqa: E402
import make_vocabulary_hf as vocabulary  # noqa: E402
from read_gguf import read_bytes, read_gguf  # noqa: E402
from reference_lm import Model  # noqa: E402

CONVERT, EVAL = BUILD / "roundhouse-convert", BUILD / "gguf_eval"
MINILM = ROOT / "deps" / "models" / "all-minilm-l6-v2"
REFERENCE = json.loads(Path(__file__).with_name("data").joinpath("minilm_reference.json").read_text(encoding="utf-8"))
VOCABULARIES = ROOT / "deps" / "llama.cpp" / "models"

TEXTS = [
    "",
    "x",
    "The quick brown fox",
    " leading",
    "  two spaces\n\nlines\t tab   ",
    "Hello, world! It's 1234567 o'clock, don't you've?",
    "HELLO World's CamelCaseWORD 'LL",
    "größe façade naïve",
    "Привет мир",
    "今日は良い天気",
    "🚀🔥 ½ → ∞ ﷽ x",
    "<|im_start|>user\nhi<|im_end|>",
    "a<think>b</think> c <tool> d<|end|>",
    "<|user|>\n  hi <|end|>\n x<|endoftext|>\ny",
]
TOKENS = np.random.default_rng(7).integers(0, 500, 48).tolist()  # longer than every window and original context above


# --- the programs ---


def run(*arguments, code=0, limit=None, cwd=None):
    """The converter with --json: its last event and its warnings."""

    def set_limit():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [CONVERT, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=scaled(100),
        preexec_fn=set_limit,
        cwd=cwd,
    )
    assert done.returncode == code, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions) and all(0 <= fraction <= 1 for fraction in fractions)
    return events[-1], [event["message"] for event in events if event["event"] == "warning"]


def refused(folder, out, *flags, limit=None):
    """The error of a conversion that must fail and leave nothing behind."""
    event, _ = run("convert", folder, out, *flags, code=1, limit=limit)
    assert event["event"] == "error"
    assert not out.exists() and not Path(f"{out}.part").exists()
    return event


def evaluate(path, requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([EVAL, path], input=lines, capture_output=True, text=True, timeout=scaled(100))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def tokenize(path, texts, special=True):
    answers = evaluate(path, [{"op": "tokenize", "text": text, "special": special} for text in texts])
    return [answer["tokens"] for answer in answers]


def difference(path, config, weights, of_all=False):
    """The largest difference of the logits, relative to the largest logit; or that of all, by their root mean squares."""
    (answer,) = evaluate(path, [{"op": "logits", "tokens": TOKENS}])
    wanted = Model(config, weights).logits(TOKENS)
    assert np.abs(wanted).max() > 1 and wanted.std() > 0.5, "a reference without contrast shows nothing"
    missed = np.array(answer["logits"]) - wanted
    if of_all:
        return np.sqrt((missed**2).mean() / (wanted**2).mean())
    return np.abs(missed).max() / np.abs(wanted).max()


# --- all-MiniLM-L6-v2 ---


@pytest.fixture(scope="session")
def minilm():
    if not (MINILM / "model.safetensors").exists():
        pytest.fail(f"{MINILM} is missing: run 'make deps' to get it", pytrace=False)
    assert hashlib.sha256((MINILM / "model.safetensors").read_bytes()).hexdigest() == REFERENCE["model_sha256"]
    return MINILM


@pytest.mark.parametrize("type_", ["f32", "f16", "q8_0"])
def test_minilm_embeddings_equal_the_reference(minilm, tmp_path, type_):
    out = tmp_path / "minilm.gguf"
    event, warnings = run("convert", minilm, out, "--type", type_)
    assert warnings == []
    assert event == {
        "event": "done",
        "path": str(out),
        "bytes": out.stat().st_size,
        "architecture": "bert",
        "type": type_,
    }
    cases = REFERENCE["cases"]
    assert len(cases) >= 10
    assert tokenize(out, [case["text"] for case in cases]) == [case["tokens"] for case in cases]
    answers = evaluate(out, [{"op": "embed", "text": case["text"]} for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        vector, wanted = np.array(answer["embedding"]), np.array(case["embedding"])
        cosine = vector @ wanted / np.linalg.norm(vector) / np.linalg.norm(wanted)
        assert 1 - cosine < (5e-3 if type_ == "q8_0" else 1e-5), case["text"]
    # What tells the sentences apart is more than what conversion changes.
    vectors = np.array([case["embedding"] for case in cases])
    assert (vectors @ vectors.T).min() < 0.2


def test_minilm_metadata(minilm, tmp_path):
    out = tmp_path / "minilm.gguf"
    run("convert", minilm, out, "--name", "MiniLM")
    metadata, tensors = read_gguf(out)
    wanted = {
        "general.name": "MiniLM",
        "general.license": "apache-2.0",
        "general.languages": ["en"],
        "bert.pooling_type": 1,
        "bert.attention.causal": False,
        "tokenizer.ggml.normalizer.lowercase": True,
        "roundhouse.embedding.normalize": True,
        "roundhouse.embedding.max_tokens": 256,
    }
    assert {key: metadata[key] for key in wanted} == wanted
    assert tensors["position_embd.weight"] == ([384, 512], 0)  # always f32
    assert tensors["blk.5.ffn_up.weight"] == ([384, 1536], 1)  # f16


def test_bert_vocabulary_equals_llama_cpps(minilm, tmp_path):
    """bge-small has the vocabulary of all BERTs in lower case; llama.cpp brings it along with texts and ids."""
    out = tmp_path / "minilm.gguf"
    run("convert", minilm, out)
    theirs, _ = read_gguf(VOCABULARIES / "ggml-vocab-bert-bge.gguf")
    ours, _ = read_gguf(out)
    for key in ("token_type", "model"):
        assert ours[f"tokenizer.ggml.{key}"] == theirs[f"tokenizer.ggml.{key}"], key
    # Its makers left the places for new words ("[unused7]") without the mark of a word's beginning.
    tokens = [text.replace("▁[unused", "[unused") for text in ours["tokenizer.ggml.tokens"]]
    assert tokens == theirs["tokenizer.ggml.tokens"]
    cases = vocabulary.cases(VOCABULARIES / "ggml-vocab-bert-bge.gguf")
    assert len(cases) > 40
    assert tokenize(out, [text for text, _ in cases], special=False) == [ids for _, ids in cases]


def test_minilm_from_vocab_txt(minilm, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(minilm, folder, copy_function=os.symlink)
    (folder / "tokenizer.json").unlink()
    run("convert", folder, tmp_path / "a.gguf")
    run("convert", minilm, tmp_path / "b.gguf")
    (a, _), (b, _) = read_gguf(tmp_path / "a.gguf"), read_gguf(tmp_path / "b.gguf")
    assert {key: a.get(key) for key in b if key != "general.name"} == {key: b[key] for key in b if key != "general.name"}


# --- tiny models ---


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_logits_and_tokens_equal_the_reference(tmp_path, kind):
    config, weights, tokenizer = tiny.make(tmp_path / kind, kind)
    out = tmp_path / "tiny.gguf"
    event, warnings = run("convert", tmp_path / kind, out, "--type", "f32", "--name", "tiny")
    assert warnings == []
    assert event["type"] == "f32"
    # Gemma's activation goes through a table of f16 in llama.cpp.
    assert difference(out, config, weights) < (1e-3 if "gemma" in kind else 2e-5)
    assert tokenize(out, TEXTS) == [tokenizer.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "phi3-long"])
@pytest.mark.parametrize("type_, limit", [("f16", 1e-2), ("bf16", 4e-2), ("q8_0", 1e-1)])
def test_smaller_types_stay_near(tmp_path, kind, type_, limit):
    config, weights, _ = tiny.make(tmp_path / kind, kind)
    out = tmp_path / "tiny.gguf"
    run("convert", tmp_path / kind, out, "--type", type_, "--name", "tiny")
    # The mean, for a random model makes much of a small difference here and there.
    assert difference(out, config, weights, of_all=True) < limit
    _, tensors = read_gguf(out)
    assert tensors["blk.0.ffn_down.weight"][1] == {"f16": 1, "bf16": 30, "q8_0": 8}[type_]
    assert all(kind == 0 for name, (shape, kind) in tensors.items() if len(shape) == 1), "vectors stay f32"


@pytest.mark.parametrize("type_", ["f16", "bf16", "q8_0"])
def test_smaller_types_have_the_bytes_that_llama_cpp_makes(tmp_path, type_):
    tiny.make(tmp_path / "llama", "llama-mha-bias")
    run("convert", tmp_path / "llama", tmp_path / "f32.gguf", "--type", "f32")
    run("quantize", tmp_path / "f32.gguf", tmp_path / "theirs.gguf", type_)
    run("convert", tmp_path / "llama", tmp_path / "ours.gguf", "--type", type_)
    ours, theirs = read_bytes(tmp_path / "ours.gguf"), read_bytes(tmp_path / "theirs.gguf")
    assert ours == theirs
    assert len({kind for kind, _ in ours.values()}) == 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_sources_and_shards(tmp_path, dtype):
    """Three shards, each type of source, written as f32: nothing is lost."""
    config, weights, _ = tiny.make(tmp_path / "llama", "llama-mha-bias", dtype, shards=3)
    out = tmp_path / "tiny.gguf"
    run("convert", tmp_path / "llama", out, "--type", "f32")
    assert difference(out, config, weights) < 2e-5


@pytest.mark.parametrize("dtype, kept", [("float32", "f16"), ("float16", "f16"), ("bfloat16", "bf16")])
def test_auto_type(tmp_path, dtype, kept):
    tiny.make(tmp_path / "qwen3", "qwen3", dtype)
    event, _ = run("convert", tmp_path / "qwen3", tmp_path / "tiny.gguf")
    assert event["type"] == kept


def test_tokenizer_model_and_json_agree(tmp_path):
    files = []
    for kind in ("llama", "llama-model"):
        tiny.make(tmp_path / kind, kind)
        run("convert", tmp_path / kind, tmp_path / f"{kind}.gguf")
        files.append(tmp_path / f"{kind}.gguf")
    (json_data, _), (model_data, _) = map(read_gguf, files)
    assert (tmp_path / "llama-model" / "tokenizer.model").exists() and not (tmp_path / "llama" / "tokenizer.model").exists()
    for key in ("tokens", "token_type", "add_space_prefix", "bos_token_id", "eos_token_id"):
        assert json_data[f"tokenizer.ggml.{key}"] == model_data[f"tokenizer.ggml.{key}"], key
    # Scores may be other numbers, but they put the tokens in the same order.
    merged = [index for index, text in enumerate(json_data["tokenizer.ggml.tokens"][259:], 259) if len(text) > 1]
    for data in (json_data, model_data):
        scores = data["tokenizer.ggml.scores"]
        assert [scores[index] for index in merged if index < 600] == sorted(
            (scores[index] for index in merged if index < 600), reverse=True
        )


def test_chat_template_and_special_tokens(tmp_path):
    tiny.make(tmp_path / "qwen2", "qwen2")
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    (tmp_path / "qwen2" / "chat_template.jinja").write_text(template)
    (tmp_path / "qwen2" / "generation_config.json").write_text('{"eos_token_id": [503, 501]}')
    run("convert", tmp_path / "qwen2", tmp_path / "tiny.gguf")
    metadata, _ = read_gguf(tmp_path / "tiny.gguf")
    tokens = metadata["tokenizer.ggml.tokens"]
    assert metadata["tokenizer.chat_template"] == template
    assert tokens[metadata["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert metadata["tokenizer.ggml.eot_token_id"] == 501
    assert metadata["tokenizer.ggml.pre"] == "qwen2"
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    types = {text: kind for text, kind in zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True)}
    assert types["<|im_start|>"] == 3 and types["<think>"] == 4 and types["[PAD700]"] == 5


def test_phi3s_tokens_swallow_white_space_whatever_the_folder_is_called(tmp_path):
    _, _, tokenizer = tiny.make(tmp_path / "some-snapshot", "phi3")
    run("convert", tmp_path / "some-snapshot", tmp_path / "out.gguf")
    text = "<|user|>\n\n hi<|end|>  \n<|user|>"
    assert tokenize(tmp_path / "out.gguf", [text]) == [tokenizer.encode(text).ids]


# --- real vocabularies ---


@pytest.mark.parametrize("name", [*vocabulary.BYTE_LEVEL, *vocabulary.SENTENCEPIECE])
def test_real_vocabularies(tmp_path, name):
    source = VOCABULARIES / f"ggml-vocab-{name}.gguf"
    theirs = vocabulary.make_vocabulary(tmp_path / name, source, name)
    out = tmp_path / "out.gguf"
    _, warnings = run("convert", tmp_path / name, out, "--name", name)
    assert warnings == []
    ours, _ = read_gguf(out)
    for key in ("tokens", "token_type", "scores", "merges", "model"):
        assert ours.get(f"tokenizer.ggml.{key}") == theirs.get(f"tokenizer.ggml.{key}"), key
    cases = vocabulary.cases(source)
    assert len(cases) > 40
    texts, ids = [text for text, _ in cases], [ids for _, ids in cases]
    assert tokenize(out, texts, special=False) == ids
    if name in vocabulary.BYTE_LEVEL:
        # The steps that we recognise are the steps that give these ids.
        tokenizer = Tokenizer.from_file(str(tmp_path / name / "tokenizer.json"))
        assert [tokenizer.encode(text, add_special_tokens=False).ids for text in texts] == ids


@pytest.mark.parametrize("name", vocabulary.MERGED)
def test_a_real_sentencepiece_vocabulary_from_merges(tmp_path, name):
    source = VOCABULARIES / f"ggml-vocab-{name}.gguf"
    vocabulary.make_vocabulary(tmp_path / name, source, name, from_merges=True)
    _, warnings = run("convert", tmp_path / name, tmp_path / "out.gguf")
    assert warnings == []
    cases = vocabulary.cases(source)
    assert tokenize(tmp_path / "out.gguf", [text for text, _ in cases], special=False) == [ids for _, ids in cases]


# --- what cannot be converted ---


@pytest.fixture
def folder(tmp_path):
    tiny.make(tmp_path / "model", "llama")
    return tmp_path / "model"


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    "changes, status, words",
    [
        ({"architectures": ["MambaForCausalLM"]}, "unsupported", ["MambaForCausalLM", "LlamaForCausalLM", "BertModel"]),
        ({"hidden_act": "relu"}, "unsupported", ["relu", "silu"]),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "unsupported", ["dynamic", "yarn"]),
        ({"quantization_config": {"quant_method": "awq"}}, "unsupported", ["quantized already"]),
        ({"num_hidden_layers": 4}, "invalid", ["input_layernorm", "layer 3"]),
        ({"num_hidden_layers": 2}, "invalid", ["layer 2", "2 layers"]),
        ({"num_attention_heads": 8}, "invalid", ["k_proj", "heads of 8"]),
        ({"num_key_value_heads": 3}, "invalid", ["3 key-value heads"]),
        ({"num_hidden_layers": -1}, "invalid", ["num_hidden_layers"]),
        ({"architectures": ["Gemma2ForCausalLM"]}, "unsupported", ["silu"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_configurations_that_are_refused(folder, tmp_path, changes, status, words):
    edit(folder, **changes)
    event = refused(folder, tmp_path / "out.gguf")
    assert event["status"] == status, event
    assert all(word in event["message"] for word in words), event


def test_weights_that_are_refused(folder, tmp_path):
    out, file = tmp_path / "out.gguf", folder / "model.safetensors"
    whole = file.read_bytes()
    weights = load_file(file)

    file.write_bytes(whole[:-100])
    assert "not fetched whole" in refused(folder, out)["message"]
    file.write_bytes(b"<html>no such file</html>")
    assert refused(folder, out)["status"] == "invalid"
    file.write_bytes(b"")
    assert refused(folder, out)["status"] == "invalid"
    file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    assert "pickles" in refused(folder, out)["message"]

    save_file({**weights, "model.layers.0.mystery.weight": weights["lm_head.weight"]}, file)
    assert "mystery" in refused(folder, out)["message"]
    save_file({**weights, "model.norm.weight": weights["model.norm.weight"].astype(np.int32)}, file)
    assert "I32" in refused(folder, out)["message"]
    save_file({**weights, "model.norm.weight": np.full(64, np.nan, np.float32)}, file)
    assert "not finite" in refused(folder, out)["message"]
    save_file({**weights, "lm_head.weight": weights["lm_head.weight"] * 1e6}, file)
    assert "--type bf16" in refused(folder, out)["message"]
    run("convert", folder, out, "--type", "f32")


def test_an_index_cannot_lead_out_of_the_folder(tmp_path):
    tiny.make(tmp_path / "model", "llama", shards=2)
    index = tmp_path / "model" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    out = tmp_path / "out.gguf"
    for name in ("../secret.safetensors", "/etc/passwd", ".hidden.safetensors", "weights.bin", 7):
        content["weight_map"]["lm_head.weight"] = name
        index.write_text(json.dumps(content))
        assert "names no file of this folder" in refused(tmp_path / "model", out)["message"]
    content["weight_map"]["lm_head.weight"] = "model-00003-of-00002.safetensors"
    index.write_text(json.dumps(content))
    assert refused(tmp_path / "model", out)["status"] == "not_found"


def test_tokenizers_that_are_refused(folder, tmp_path):
    out, file = tmp_path / "out.gguf", folder / "tokenizer.json"
    file.unlink()
    assert "tokenizer" in refused(folder, out)["message"]
    for content in (b"\x0a\x05ab", b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f"):
        (folder / "tokenizer.model").write_bytes(content)
        assert "tokenizer.model" in refused(folder, out)["message"]
    (folder / "tokenizer.model").unlink()
    tiny.GPT2(folder)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["pre_tokenizer"]["pretokenizers"] = [{"type": "Whitespace"}, content["pre_tokenizer"].copy()]
    content["pre_tokenizer"]["type"] = "Sequence"
    file.write_text(json.dumps(content))
    event = refused(folder, out)
    assert "Whitespace + bytes(regex)" in event["message"] and "--pre" in event["message"]
    run("convert", folder, out, "--pre", "gpt-2")


# --- the file is whole or absent ---


def large_folder(folder):
    """256 MiB of f32."""
    tiny.make(folder, "llama-tied")
    weights = load_file(folder / "model.safetensors")
    rows = 1 << 20
    embedding = np.zeros((rows, 64), np.float32)
    save_file({**weights, "model.embed_tokens.weight": embedding}, folder / "model.safetensors")
    edit(folder, vocab_size=rows)


def test_memory_stays_bounded(tmp_path):
    large_folder(tmp_path / "model")
    # A million unused tokens would cost memory for their texts; what is asked here is the weights' share.
    process = subprocess.Popen([CONVERT, "convert", tmp_path / "model", tmp_path / "out.gguf"], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    with_weights = usage.ru_maxrss * 1024

    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({**weights, "model.embed_tokens.weight": np.zeros((1 << 20, 1), np.float32)}, tmp_path / "model" / "model.safetensors")
    process = subprocess.Popen([CONVERT, "convert", tmp_path / "model", tmp_path / "out.gguf"], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert with_weights - usage.ru_maxrss * 1024 < 48 << 20


def test_a_full_disk_leaves_nothing(folder, tmp_path):
    event = refused(folder, tmp_path / "out.gguf", limit=100_000)
    assert event["status"] == "no_space" and "room" in event["message"]


def test_a_terminated_conversion_leaves_nothing(tmp_path):
    large_folder(tmp_path / "model")
    out, part = tmp_path / "out.gguf", tmp_path / "out.gguf.part"
    process = subprocess.Popen([CONVERT, "convert", tmp_path / "model", out, "--type", "f32"], stderr=subprocess.DEVNULL)
    while process.poll() is None and not part.exists():
        pass  # as soon as it can be: there is little time
    process.send_signal(signal.SIGSTOP)
    poll(lambda: Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1][0] == "T", 5, "a stopped converter")
    assert part.exists() and not out.exists()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(scaled(10)) == 128 + signal.SIGTERM
    assert not part.exists() and not out.exists()


def test_an_older_file_stays_when_conversion_fails(folder, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_text("older")
    event, _ = run("convert", folder, out, code=1, limit=100_000)
    assert event["status"] == "no_space" and out.read_text() == "older"


# --- quantization ---


@pytest.fixture(scope="module")
def quantized(smollm2, tmp_path_factory):
    """SmolLM2 in three more types."""
    folder = tmp_path_factory.mktemp("quantized")
    for type_ in ("q8_0", "q4_0", "q2_k"):
        event, _ = run("quantize", smollm2, folder / f"smollm2-{type_}.gguf", type_, "--requantize")
        assert (event["event"], event["type"], event["architecture"]) == ("done", type_, "llama")
        assert event["bytes"] == (folder / f"smollm2-{type_}.gguf").stat().st_size
    return folder


def test_requantized_models_answer(quantized, daemon):
    models = {path.stem: path for path in sorted(quantized.glob("*.gguf"))}
    assert len(models) == 3
    sizes = {name: path.stat().st_size for name, path in models.items()}
    assert sizes["smollm2-q2_k"] < sizes["smollm2-q4_0"] < sizes["smollm2-q8_0"]
    server = daemon(models=models, slots=1, context=512)
    for name in models:
        answer = server.chat("Name the capital of France.", name, wait=60, temperature=0, max_tokens=24)
        assert answer.status == 200, answer
        text = answer.json()["choices"][0]["message"]["content"]
        assert len(text.split()) >= 3, (name, text)
        if name == "smollm2-q8_0":
            assert "Paris" in text


def test_quantizing_twice_has_to_be_asked_for(smollm2, tmp_path):
    event, _ = run("quantize", smollm2, tmp_path / "out.gguf", "q8_0", code=1)
    assert event["status"] == "conflict" and "--requantize" in event["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [50_000, 1_000_000])
def test_a_full_disk_leaves_nothing_of_a_quantization(smollm2, tmp_path, limit):
    event, _ = run("quantize", smollm2, tmp_path / "out.gguf", "q8_0", "--requantize", code=1, limit=limit)
    assert event["status"] == "no_space"
    assert list(tmp_path.iterdir()) == []


def wide_model(folder):
    """One whose rows fill the largest blocks, of 256 numbers."""
    config, _, _ = tiny.make(folder, "llama-tied")
    config |= {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "num_hidden_layers": 1}
    weights = tiny.random_weights(tiny.shapes_of("llama-tied", config), False)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def write_matrix(path, tensors):
    """An importance matrix of made-up numbers for each weight, in llama.cpp's form."""
    rng, entries, data = np.random.default_rng(5), b"", b""
    names = [name for name, (shape, _) in tensors.items() if len(shape) == 2]
    for name in names:
        for suffix, values in (
            (".in_sum2", rng.uniform(0.5, 2.0, tensors[name][0][0])),
            (".counts", np.array([4.0])),
        ):
            text = (name + suffix).encode()
            entries += struct.pack("<Q", len(text)) + text + struct.pack("<IQIQ", 1, len(values), 0, len(data))
            data += values.astype(np.float32).tobytes()
            data += b"\0" * (-len(data) % 32)
    header = b"GGUF" + struct.pack("<IQQ", 3, 2 * len(names), 0) + entries
    path.write_bytes(header + b"\0" * (-len(header) % 32) + data)


def quant_types():
    listed = subprocess.run([CONVERT, "quantize", "--list"], capture_output=True, text=True, check=True).stdout
    return [(line.split()[0], "importance matrix" in line) for line in listed.splitlines()]


def test_every_type(tmp_path):
    """Each makes a file that loads; the ones that need an importance matrix say so and take one."""
    source, matrix = tmp_path / "source.gguf", tmp_path / "imatrix.gguf"
    wide_model(tmp_path / "model")
    run("convert", tmp_path / "model", source, "--type", "f32")
    write_matrix(matrix, read_gguf(source)[1])
    types = quant_types()
    assert len(types) > 30 and sum(needed for _, needed in types) == 9
    sizes = {}
    for type_, needs_matrix in types:
        out = tmp_path / f"{type_}.gguf"
        if needs_matrix:
            event, _ = run("quantize", source, out, type_, code=1)
            assert "--imatrix FILE" in event["message"] and not out.exists()
        event, _ = run("quantize", source, out, type_, *(["--imatrix", matrix] if needs_matrix else []))
        assert event["event"] == "done" and event["type"] == type_
        assert len(tokenize(out, ["hello"])[0]) > 0
        sizes[type_] = event["bytes"]
    assert sizes["iq1_s"] < sizes["iq2_xxs"] < sizes["q2_k"] < sizes["q4_k_m"] < sizes["q6_k"] < sizes["q8_0"] < sizes["f16"]


def test_matrices_that_are_refused(tmp_path):
    source, matrix = tmp_path / "source.gguf", tmp_path / "imatrix.gguf"
    wide_model(tmp_path / "model")
    run("convert", tmp_path / "model", source)
    out = tmp_path / "out.gguf"
    event, _ = run("quantize", source, out, "iq2_xs", "--imatrix", matrix, code=1)
    assert event["status"] == "not_found"
    event, _ = run("quantize", source, out, "iq2_xs", "--imatrix", source, code=1)
    assert event["status"] == "invalid" and "no sums" in event["message"]
    tensors = read_gguf(source)[1]
    write_matrix(matrix, {name: tensors[name] for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight")})
    event, _ = run("quantize", source, out, "iq2_xs", "--imatrix", matrix, code=1)
    assert event["event"] == "error" and not out.exists() and not Path(f"{out}.part").exists()


def test_unknown_types_and_files(tmp_path, smollm2):
    event, _ = run("quantize", smollm2, tmp_path / "out.gguf", "q9_x", code=1)
    assert "q9_x" in event["message"] and "--list" in event["message"]
    (tmp_path / "no.gguf").write_text("not a model")
    event, _ = run("quantize", tmp_path / "no.gguf", tmp_path / "out.gguf", "q8_0", code=1)
    assert event["status"] == "invalid"
    event, _ = run("quantize", tmp_path / "none.gguf", tmp_path / "out.gguf", "q8_0", code=1)
    assert event["status"] == "not_found"
    done = subprocess.run([CONVERT, "bake", "a", "b"], capture_output=True, text=True)
    assert done.returncode == 2 and "bake" in done.stderr


# --- roundhouse convert, roundhouse quantize ---


def roundhouse(tmp_path, *arguments, code=0, **environment):
    done = subprocess.run(
        [ROUNDHOUSE, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(tmp_path, **environment),
        timeout=scaled(60),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_convert_then_quantize_by_name(folder, tmp_path):
    models = tmp_path / ".local" / "share" / "roundhouse" / "models"
    assert "model.gguf: llama, f16" in roundhouse(tmp_path, "convert", folder)
    assert (models / "model.gguf").exists()
    assert "is there already" in roundhouse(tmp_path, "convert", folder, code=1)
    roundhouse(tmp_path, "convert", folder, "--force", "--type", "f32")
    roundhouse(tmp_path, "quantize", "model", "q8_0")
    assert (models / "model-q8_0.gguf").exists()
    roundhouse(tmp_path, "convert", folder, "tiny-f16.gguf", "--name", "Tiny")
    assert read_gguf(tmp_path / "tiny-f16.gguf")[0]["general.name"] == "Tiny"
    roundhouse(tmp_path, "quantize", "./tiny-f16.gguf", "q4_0")
    assert (tmp_path / "tiny-q4_0.gguf").exists()
    assert "importance matrix" in roundhouse(tmp_path, "quantize", "--list")


def test_commands_say_what_is_wrong(folder, tmp_path):
    assert "FOLDER" in roundhouse(tmp_path, "convert", code=2)
    assert "FILE|MODEL" in roundhouse(tmp_path, "quantize", "x", code=2)
    roundhouse(tmp_path, "quantize", "nosuchmodel", "q8_0", code=1)
    words = roundhouse(tmp_path, "convert", folder, "o.gguf", code=1, ROUNDHOUSE_CONVERT=str(tmp_path / "none"))
    assert "no roundhouse-convert" in words

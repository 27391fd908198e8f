# SPDX-License-Identifier: Apache-2.0
"""Embedding models as GGUF through the real daemon: a real one against stored vectors of another implementation
(data/minilm_reference.json), and a tiny random decoder against numpy."""

import base64
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from harness.daemon import BUILD, ROOT
from harness.wait import scaled

sys.path.insert(0, str(ROOT / "tests" / "tools"))

import make_tiny_hf as tiny  # noqa: E402
from reference_lm import Model  # noqa: E402

MINILM = ROOT / "deps" / "models" / "all-minilm-l6-v2"
CASES = json.loads(Path(__file__).with_name("data").joinpath("minilm_reference.json").read_text("utf-8"))["cases"]
TEXTS = [case["text"] for case in CASES]
REFERENCE = np.array([case["embedding"] for case in CASES])


def convert(folder, out, kind="f32"):
    subprocess.run(
        [BUILD / "roundhouse-convert", "convert", folder, out, "--type", kind],
        check=True,
        capture_output=True,
        timeout=scaled(100),
    )
    return str(out)


def decoder(folder):
    """A decoder whose files ask for the vector of its last token, not normalized."""
    config, weights, tokenizer = tiny.make(folder, "qwen3")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    identity = np.eye(config["hidden_size"])
    return Model(config, {**weights, "lm_head.weight": identity}), tokenizer


@pytest.fixture(scope="module")
def last_token(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    model, tokenizer = decoder(folder / "hf")
    return convert(folder / "hf", folder / "decoder.gguf"), model, tokenizer


@pytest.fixture(scope="module")
def server(module_daemon, tmp_path_factory, last_token, smollm2):
    folder = tmp_path_factory.mktemp("gguf")
    plain = folder / "plain"
    shutil.copytree(MINILM, plain)
    modules = json.loads((plain / "modules.json").read_text())
    (plain / "modules.json").write_text(json.dumps(modules[:2]))
    models = {
        "f32": convert(MINILM, folder / "f32.gguf"),
        "q8": convert(MINILM, folder / "q8.gguf", "q8_0"),
        "plain": convert(plain, folder / "plain.gguf"),
        "decoder": last_token[0],
        "chat": smollm2,
    }
    return module_daemon(models=models, default_model="f32")


def embed(server, inputs, model="f32", **fields):
    answer = server.post("/v1/embeddings", {"model": model, "input": inputs, **fields}, timeout=scaled(60))
    assert answer.status == 200, answer
    rows = answer.json()["data"]
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return np.array([row["embedding"] for row in rows])


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_equals_the_reference(server):
    answer = server.post("/v1/embeddings", {"input": TEXTS}, timeout=scaled(60)).json()
    got = np.array([row["embedding"] for row in answer["data"]])
    assert cosines(got, REFERENCE).min() >= 0.9999
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert answer["usage"]["prompt_tokens"] == sum(len(case["tokens"]) for case in CASES)


def test_each_alone_equals_all_together(server):
    together = embed(server, TEXTS)
    with ThreadPoolExecutor(8) as pool:
        alone = np.array(list(pool.map(lambda text: embed(server, text)[0], TEXTS)))
    assert cosines(alone, together).min() >= 0.99999


def test_quantized_stays_near(server):
    assert cosines(embed(server, TEXTS, "q8"), REFERENCE).min() >= 0.995


def test_base64_and_dimensions(server):
    whole = embed(server, TEXTS[0])[0]
    answer = server.post("/v1/embeddings", {"input": TEXTS[0], "encoding_format": "base64", "dimensions": 64}).json()
    part = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    assert np.allclose(part, whole[:64] / np.linalg.norm(whole[:64]), atol=1e-5)


def test_ollama_gives_the_same(server):
    answer = server.post("/api/embed", {"model": "f32", "input": TEXTS[:3]}).json()
    assert cosines(np.array(answer["embeddings"]), REFERENCE[:3]).min() >= 0.9999


def test_a_long_text_is_cut_to_what_the_model_was_meant_for(server):
    # 256 tokens by the model's own files, two of them special: what stands behind the 254th word does not matter.
    words = ["word"] * 254
    cut, shorter = embed(server, [" ".join(words + ["other", "things"]), " ".join(words)])
    assert np.allclose(cut, shorter, atol=1e-5)


def test_not_normalized_where_the_files_do_not_ask_for_it(server):
    got = embed(server, TEXTS[:3], "plain")
    assert cosines(got, REFERENCE[:3]).min() >= 0.9999
    assert (np.abs(np.linalg.norm(got, axis=1) - 1) > 0.01).all()


def test_a_decoder_gives_its_last_tokens_vector(server, last_token):
    _, model, tokenizer = last_token
    texts = ["The quick brown fox", "x", "hello world, and some more"]
    wanted = np.array([model.logits(np.array(tokenizer.encode(text).ids))[-1] for text in texts])
    got = embed(server, texts, "decoder")
    assert cosines(got, wanted).min() >= 0.9999
    assert np.allclose(got, wanted, atol=0.01)  # keys and values are kept in half precision


def test_each_model_says_what_it_is_for(server):
    chat = server.post("/v1/chat/completions", {"model": "f32", "messages": [{"role": "user", "content": "hi"}]})
    assert chat.status == 400 and "embedding" in chat.json()["error"]["message"], chat
    vectors = server.post("/v1/embeddings", {"model": "chat", "input": "hi"})
    assert vectors.status == 400 and "generat" in vectors.json()["error"]["message"], vectors
    assert server.chat("hi", model="chat", max_tokens=4).status == 200

# SPDX-License-Identifier: Apache-2.0
"""Text from ONNX decoders through the whole server: tiny ones of both export styles in many variants, Phi-3's exact ports, and
SmolLM2. The same graphs run by onnxruntime's Python package, by onnxruntime-genai and in numpy say what has to come."""

import json
import shutil
import sys
import threading

import numpy as np
import onnxruntime_genai
import openai
import pytest

from harness.clients import openai_client
from harness.daemon import ROOT
from harness.wait import poll

sys.path.insert(0, str(ROOT / "tests" / "tools"))

import make_decoder_onnx  # noqa: E402
from decoder_run import COUNT, PROMPTS, Reference  # noqa: E402
from reference_lm import Model  # noqa: E402

GREEDY = json.loads((ROOT / "tests" / "e2e" / "reference" / "greedy.json").read_text(encoding="utf-8"))
INT4 = {"weights": "int4", "accuracy": 4}
TINY = {
    "past": ("past", {}),
    "past-counted": ("past", {"position_ids": False}),
    "past-merged": ("past", {"use_cache_branch": True}),
    "past-half": ("past", {"kv": "float16"}),
    "past-kept": ("past", {"ids": "int32", "kept_logits": True}),
    "past-one": ("past", {"rows": 1}),
    "genai": ("genai", {}),
    "genai-positions": ("genai", {"rotary_op": True}),
    "genai-zeros": ("genai", {"weights": "int4", "symmetric": False, "head_bits": None}),
    "genai-int4": ("genai", INT4),
    "phi3": ("genai", {"shape": "phi3", **INT4}),
}
EXACT = ["past", "past-counted", "past-merged", "past-kept", "past-one", "genai", "genai-positions"]  # floats of 32 bits


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    base = tmp_path_factory.mktemp("decoders")
    made = {name: make_decoder_onnx.make_tiny(base / name, style, **options) for name, (style, options) in TINY.items()}
    return {name: Reference(base / name, made[name]) for name in TINY}


@pytest.fixture(scope="module")
def server(module_daemon, references):
    return module_daemon(models={name: str(one.folder) for name, one in references.items()}, preload=False)


@pytest.fixture(scope="module")
def tiny(server):
    return openai_client(server)


def complete(client, model, prompt, count=COUNT, **fields):
    fields.setdefault("temperature", 0)
    return client.completions.create(model=model, prompt=prompt, max_tokens=count, **fields)


def joined(stream):
    """(text, the last reason to end, usage) of a streamed completion or chat."""
    text, reason, usage = "", None, None
    for chunk in stream:
        for choice in chunk.choices:
            text += (choice.text if hasattr(choice, "text") else choice.delta.content) or ""
            reason = choice.finish_reason or reason
        usage = chunk.usage or usage
    return text, reason, usage


def numbers(reference):
    """numpy's own computation of the model."""
    config, weights, _ = reference.made
    return Model({**config, "architectures": ["LlamaForCausalLM"]}, weights)


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64) - np.max(logits)
    return shifted - np.log(np.exp(shifted).sum())


# --- the same tokens as others choose ---


@pytest.mark.parametrize("model", TINY)
def test_greedy_equals_onnxruntime(tiny, references, model):
    """Weights of four bits are computed with inputs of eight, whose rounding moves the logits: only clear answers count."""
    reference = references[model]
    margin = 1e-3 if model in EXACT else 0.005
    for prompt, text in list(reference.sure(margin=margin).items())[:4]:
        answer = complete(tiny, model, prompt)
        assert answer.choices[0].text == text, prompt
        assert answer.choices[0].finish_reason == "length"
        usage = answer.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (len(reference.ids(prompt)), COUNT)
        streamed = joined(complete(tiny, model, prompt, stream=True, stream_options={"include_usage": True}))
        assert streamed[:2] == (text, "length")
        assert streamed[2].total_tokens == usage.total_tokens


@pytest.mark.parametrize("model", ["genai", "genai-zeros", "genai-int4", "phi3"])
def test_greedy_equals_onnxruntime_genai(tiny, references, model):
    reference = references[model]
    other = onnxruntime_genai.Model(str(reference.folder))
    for prompt in list(reference.sure(margin=0.005))[:3]:
        ids, tokens = reference.ids(prompt), []
        params = onnxruntime_genai.GeneratorParams(other)
        params.set_search_options(max_length=len(ids) + COUNT, do_sample=False)
        generator = onnxruntime_genai.Generator(other, params)
        generator.append_tokens(ids)
        while not generator.is_done():
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        assert complete(tiny, model, prompt).choices[0].text == reference.text(ids, tokens)


@pytest.mark.parametrize("model", ["past", "genai", "phi3"])
def test_chat(tiny, references, model):
    """Phi-3's template begins with its first token, which the tokenizer would add too: it stands there once."""
    reference = references[model]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What does the fox do?"}]
    ids = reference.chat_ids(messages)
    text = reference.greedy(ids)
    options = {"model": model, "messages": messages, "max_tokens": COUNT, "temperature": 0}
    answer = tiny.chat.completions.create(**options)
    assert answer.choices[0].message.content.lstrip(" ") == text.lstrip(" ")
    assert answer.usage.prompt_tokens == len(ids)
    streamed, reason, _ = joined(tiny.chat.completions.create(**options, stream=True))
    assert (streamed, reason) == (answer.choices[0].message.content, "length")


@pytest.mark.parametrize("model", EXACT)
def test_logprobs_are_numpys(tiny, references, model):
    """Shares are among the ids that have a word: the tiny graphs, like many real ones, give logits for a few more."""
    reference, prompt = references[model], PROMPTS[0]
    ids = reference.ids(prompt)
    tokens = reference.decoder.greedy(ids, 8)
    words = reference.tokenizer.get_vocab_size()
    assert words < reference.decoder.config["vocab_size"]
    rows = [log_softmax(row[:words]) for row in numbers(reference).logits(np.array(ids + tokens))[len(ids) - 1 : -1]]
    found = complete(tiny, model, prompt, 8, logprobs=3).choices[0].logprobs
    assert found.tokens == [reference.tokenizer.decode([token]) for token in tokens]
    assert found.token_logprobs == pytest.approx([row[token] for row, token in zip(rows, tokens)], abs=1e-3)
    for row, top in zip(rows, found.top_logprobs):
        best = np.sort(row)[::-1][:3]
        assert sorted(top.values(), reverse=True) == pytest.approx(best.tolist(), abs=1e-3)


def test_logits_as_tensors(server, references):
    """A decoder's graph still takes and gives tensors."""
    reference = references["past"]
    ids = reference.ids(PROMPTS[1])
    places = list(range(len(ids)))
    inputs = {
        "input_ids": {"dtype": "int64", "shape": [1, len(ids)], "data": ids},
        "attention_mask": {"dtype": "int64", "shape": [1, len(ids)], "data": [1] * len(ids)},
        "position_ids": {"dtype": "int64", "shape": [1, len(ids)], "data": places},
    }
    for name in reference.decoder.pasts:
        inputs[name] = {"dtype": "float32", "shape": [1, 2, 0, 16], "data": []}
    body = {"model": "past", "task": "tensor", "inputs": inputs, "options": {"outputs": ["logits", "present.1.value"]}}
    answer = server.post("/api/inference", body)
    assert answer.status == 200, answer
    outputs = answer.json()["result"]["outputs"]
    logits = np.array(outputs["logits"]["data"]).reshape(len(ids), -1)
    assert np.abs(logits - numbers(reference).logits(np.array(ids))).max() < 1e-4
    assert outputs["present.1.value"]["shape"] == [1, 2, len(ids), 16]


# --- ends ---


@pytest.mark.parametrize("model", ["past", "genai"])
def test_stop_strings(tiny, references, model):
    whole = references[model].greedy(PROMPTS[0])
    stop = whole[9:12]
    expected = whole[: whole.index(stop)]
    answer = complete(tiny, model, PROMPTS[0], stop=["never to be seen", stop])
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (expected, "stop")
    assert joined(complete(tiny, model, PROMPTS[0], stop=stop, stream=True))[:2] == (expected, "stop")


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("model", ["past", "genai"])
def test_max_tokens(tiny, references, model, count):
    answer = complete(tiny, model, PROMPTS[2], count)
    assert answer.choices[0].text == references[model].greedy(PROMPTS[2], count)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", count)


@pytest.mark.parametrize("style", ["past", "genai"])
def test_end_tokens_of_the_models_files(daemon, references, tmp_path, style):
    """The files name a second token that ends an answer; a run that ignores the end never chooses it."""
    first = references[style]
    ids = first.ids(PROMPTS[0])
    tokens = first.decoder.greedy(ids, COUNT)
    end = next(token for index, token in enumerate(tokens) if index >= 8 and token not in tokens[:index])
    ends = [first.decoder.config["eos_token_id"], end]
    make_decoder_onnx.make_tiny(tmp_path / "model", style, eos_token_id=ends)
    client = openai_client(daemon(models={"ending": str(tmp_path / "model")}))
    answer = complete(client, "ending", PROMPTS[0])
    assert answer.choices[0].text == first.text(ids, tokens[: tokens.index(end)])
    assert answer.choices[0].finish_reason == "stop"
    going_on = complete(client, "ending", PROMPTS[0], extra_body={"ignore_eos": True})

    def pick(logits):
        logits = logits.copy()
        logits[ends] = -np.inf
        return logits.argmax()

    assert going_on.choices[0].text == first.text(ids, [token for token, _ in first.decoder.steps(ids, COUNT, pick)])
    assert going_on.choices[0].finish_reason == "length"


@pytest.mark.parametrize("model", ["past", "genai"])
def test_prompts_beyond_the_context(tiny, model):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(tiny, model, "1234567890" * 60)
    assert caught.value.code == "context_length_exceeded"
    assert "600" in caught.value.message and "512" in caught.value.message, caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        complete(tiny, model, "1234567890" * 50, 100)
    assert caught.value.code == "context_length_exceeded"
    assert all(word in caught.value.message for word in ("500", "100", "512")), caught.value.message


@pytest.mark.parametrize("model", ["past", "genai"])
def test_answers_end_where_the_context_ends(tiny, model):
    messages = [{"role": "user", "content": "1234567890" * 44}]
    answer = tiny.chat.completions.create(model=model, messages=messages, temperature=0, extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert 510 <= answer.usage.total_tokens <= 512 and answer.usage.completion_tokens > 10


# --- sampling ---


@pytest.mark.parametrize("model", ["past", "genai", "genai-int4"])
def test_seeds_repeat(tiny, model):
    def tell(seed):
        return complete(tiny, model, PROMPTS[0], temperature=1.0, seed=seed).choices[0].text

    first = [tell(seed) for seed in (1, 2, 3)]
    assert [tell(seed) for seed in (1, 2, 3)] == first
    assert len(set(first)) == 3


def test_token_ids_bias_and_choices(tiny, references):
    reference = references["genai"]
    ids = reference.ids(PROMPTS[3])
    tokens = reference.decoder.greedy(ids, 4)
    assert complete(tiny, "genai", ids, 4).choices[0].text == reference.text(ids, tokens)
    assert complete(tiny, "genai", ids, 1, logit_bias={str(tokens[0]): -100}).choices[0].text != reference.text(ids, tokens[:1])
    several = complete(tiny, "genai", PROMPTS[3], n=3, temperature=1.0, seed=5)
    assert len({choice.text for choice in several.choices}) == 3


# --- several at once ---


def together(client, model, jobs):
    """The texts of [(prompt, count)], each begun while the one before it runs."""
    streams, found = [], [None] * len(jobs)

    def read(index, stream, begun):
        found[index] = begun + joined(stream)[0]

    threads = []
    for index, (prompt, count) in enumerate(jobs):
        stream = complete(client, model, prompt, count, stream=True)
        streams.append(stream)
        begun = next(iter(stream)).choices[0].text
        threads.append(threading.Thread(target=read, args=(index, stream, begun)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("model", EXACT)
def test_several_at_once_are_as_alone(tiny, references, model):
    reference = references[model]
    jobs = [(prompt, 40 + 12 * index) for index, prompt in enumerate(reference.sure(100, prompts=PROMPTS[:7]))][:6]
    assert together(tiny, model, jobs) == [reference.greedy(*job) for job in jobs]


@pytest.mark.parametrize("model", ["past", "genai"])
def test_a_repeated_prefix_is_not_computed_again(tiny, references, model):
    prompt = "The fox is quick, and the dog is lazy; it's not amused. " * 6
    first, second = complete(tiny, model, prompt), complete(tiny, model, prompt)
    longer = complete(tiny, model, prompt + first.choices[0].text)
    for answer in (second, longer):
        assert answer.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1, answer.usage
        assert answer.usage.prompt_tokens_details.cached_tokens < answer.usage.prompt_tokens
    assert first.choices[0].text == second.choices[0].text == references[model].greedy(prompt)
    assert longer.choices[0].text == references[model].greedy(prompt + first.choices[0].text)
    # What the cache holds beyond the common beginning must not be seen.
    shorter = prompt[: len(prompt) // 2] + "Don't"
    assert complete(tiny, model, shorter).choices[0].text == references[model].greedy(shorter)


# --- what is said of it ---


def test_what_a_decoder_is_for(server, tiny):
    answer = server.post("/v1/embeddings", {"model": "past", "input": "hi"})
    assert answer.status == 400 and "generating text" in answer.error()["message"], answer
    said = complete(tiny, "genai-int4", "hi", 1).to_dict()["roundhouse"]
    assert said["engine"] == "onnx" and said["device"] == "cpu", said
    assert said["acceleration"].lower().startswith("cpu") and said["quantization"] == "int4", said


# --- a real model ---


@pytest.fixture(scope="module")
def smollm2_folders(smollm2, tmp_path_factory):
    base = tmp_path_factory.mktemp("smollm2")
    make_decoder_onnx.make_smollm2(base / "past", "past", gguf=smollm2)
    make_decoder_onnx.make_smollm2(base / "genai", "genai", gguf=smollm2)
    make_decoder_onnx.make_smollm2(base / "int4", "genai", "int4", gguf=smollm2, accuracy=4)
    yield base
    shutil.rmtree(base)  # more than a gigabyte


@pytest.fixture(scope="module")
def real_server(module_daemon, smollm2_folders):
    models = {name: str(smollm2_folders / name) for name in ("past", "genai", "int4")}
    return module_daemon(models=models, preload=False, context=2048)


@pytest.fixture(scope="module")
def real(real_server):
    return openai_client(real_server)


@pytest.mark.parametrize("style", ["past", "genai"])
def test_smollm2_answers_as_llama_cpp_does(real_server, real, style):
    """The GGUF's numbers in floats against the GGUF itself, whose reference has no near ties. Three at once, all six in the end."""
    made = {"name": "roundhouse_engine_tokens_total", "kind": "generated", "gen_ai_response_model": style}
    steps = {"name": "roundhouse_engine_steps_total", "gen_ai_response_model": style}
    before = {"made": real_server.metric(**made), "steps": real_server.metric(**steps)}
    cases = GREEDY["cases"][style == "past" :: 2]
    found = [None] * len(cases)

    def ask(index, case):
        options = {"model": style, "temperature": 0, "max_tokens": GREEDY["max_tokens"]}
        if case["kind"] == "chat":
            answer = real.chat.completions.create(messages=case["messages"], **options)
            found[index] = answer.choices[0].message.content, answer.usage.prompt_tokens
        else:
            answer = real.completions.create(prompt=case["prompt"], **options)
            found[index] = answer.choices[0].text, answer.usage.prompt_tokens

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(cases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(case["text"], case["prompt_tokens"]) for case in cases]
    # They were computed together: far fewer steps than tokens.
    tokens = len(cases) * GREEDY["max_tokens"]
    poll(lambda: real_server.metric(**made) == before["made"] + tokens, 10, "the engine's count of tokens")
    assert real_server.metric(**steps) - before["steps"] < 0.75 * tokens


def test_smollm2_with_int4_weights(real, smollm2_folders):
    reference = Reference(smollm2_folders / "int4")
    for prompt in ("1, 2, 3, 4, 5, 6,", "Emoji: 🚀🔥😀, 🚀🔥😀, 🚀🔥😀, 🚀🔥"):
        text = reference.greedy(prompt)
        assert complete(real, "int4", prompt).choices[0].text == text
        assert joined(complete(real, "int4", prompt, stream=True))[0] == text


@pytest.mark.parametrize("style", ["past", "genai"])
def test_a_cancelled_stream_frees_its_slot(real_server, real, style):
    """And the answer that is computed beside it is not touched."""
    before = real_server.metric("roundhouse_runs_cancelled_total")
    case = next(case for case in GREEDY["cases"] if case["kind"] == "completion")
    stream = complete(real, style, "Once upon a time", 1500, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    beside = complete(real, style, case["prompt"], GREEDY["max_tokens"], stream=True)
    begun = next(iter(beside)).choices[0].text
    stream.close()
    assert begun + joined(beside)[0] == case["text"]
    real_server.wait_metric("roundhouse_runs_cancelled_total", lambda value: value == before + 1)
    real_server.wait_idle()

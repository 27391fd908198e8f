# SPDX-License-Identifier: Apache-2.0
"""POST /api/inference, its stream, and cancelling, with the fake engine. What its tasks answer: src/engine/fake/README.md."""

import base64
import struct
import threading

import pytest

from harness.wait import poll

MODELS = {
    "emb": "fake:task=embed,dims=4",
    "rr": "fake:task=rerank",
    "cls": "fake:task=classify,labels=cat/dog/cow",
    "ner": "fake:task=token-classify",
    "short-ner": "fake:task=token-classify,context=12",
    "zs": "fake:task=zero-shot",
    "raw": "fake:task=tensor",
    "chat": "fake:slots=2",
}


@pytest.fixture(scope="module")
def server(module_daemon):
    return module_daemon(models=MODELS)


def infer(server, model, inputs, path="/api/inference", **fields):
    return server.post(path, {"model": model, "inputs": inputs, **fields})


def result(answer, task):
    assert answer.status == 200, answer
    body = answer.json()
    assert body["task"] == task and body["request_id"] == answer.header("x-request-id")
    meta = body["meta"]
    assert meta["engine"] == "fake" and meta["device"] == "cpu"
    assert set(meta["acceleration"]) >= {"engine", "execution_provider", "quantization", "batch_size", "padding"}
    assert meta["latency_ms"] >= meta["queue_ms"] >= 0
    return body["result"]


# --- tasks ---


def test_embed(server):
    items = result(infer(server, "emb", ["red apple", "pear"]), "embed")["items"]
    assert [len(item["embedding"]) for item in items] == [4, 4]
    assert [item["tokens"] for item in items] == [4, 3]
    packed = result(infer(server, "emb", "red apple", options={"encoding_format": "base64"}), "embed")["items"]
    assert len(base64.b64decode(packed[0]["embedding"])) == 16


def test_rerank(server):
    pairs = [{"text": "red apple", "text_pair": text} for text in ("pear", "red apple")]
    results = result(infer(server, "rr", pairs), "rerank")["results"]
    assert [row["index"] for row in results] == [1, 0]
    inputs = {"query": "red apple", "documents": ["pear", "red apple", "[[fail_at=0]]"]}
    whole = infer(server, "rr", inputs, options={"return_documents": True, "top_n": 1})
    results = result(whole, "rerank")["results"]
    assert results[0]["document"] == {"text": "red apple"}
    assert results[1]["index"] == 2 and "told to fail" in results[1]["error"]["message"]
    assert whole.json()["meta"]["failed"] == 1


def test_classify(server):
    items = result(infer(server, "cls", ["the cat", "a dog"]), "classify")["items"]
    assert [item["labels"][0]["label"] for item in items] == ["cat", "dog"]
    for item in items:
        scores = [label["score"] for label in item["labels"]]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        assert abs(sum(scores) - 1) < 1e-5
    top = result(infer(server, "cls", "the cat", options={"top_k": 1}), "classify")["items"]
    assert len(top[0]["labels"]) == 1
    each = result(infer(server, "cls", "cat dog", options={"multi_label": True}), "classify")["items"][0]["labels"]
    assert sum(label["score"] for label in each) > 1.5
    raw = result(infer(server, "cls", "cat", options={"function_to_apply": "none"}), "classify")["items"][0]["labels"]
    assert raw[0]["score"] == 4


def test_token_classify(server):
    text = "Then Ada Lovelace paid 7 élan to Bob"
    (item,) = result(infer(server, "ner", text, task="ner"), "token-classify")["items"]
    entities = item["entities"]
    for entity in entities:
        assert text[entity["start"] : entity["end"]] == entity["word"]
        assert set(entity) == {"entity_group", "score", "word", "start", "end"}
    assert ("NUM", "7") in [(entity["entity_group"], entity["word"]) for entity in entities]
    assert "Bob" in [entity["word"] for entity in entities]
    (item,) = result(infer(server, "ner", text, options={"aggregation_strategy": "none"}), "token-classify")["items"]
    assert {"entity", "index"} <= set(item["entities"][0])


def test_long_texts_of_token_classify(server):
    """Read in windows of the model's length, unless the client says that they are to be cut or refused."""
    text = "é " + " ".join(f"w{i}" for i in range(40)) + " Ada Lovelace 7"
    (item,) = result(infer(server, "short-ner", text), "token-classify")["items"]
    assert item["windows"] > 3 and item["tokens"] > 43 and "truncated" not in item
    assert [(entity["entity_group"], entity["word"]) for entity in item["entities"]] == [("PER", "Ada Lovelace"), ("NUM", "7")]
    for entity in item["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["word"]

    (fewer,) = result(infer(server, "short-ner", text, parameters={"stride": 0}), "token-classify")["items"]
    (more,) = result(infer(server, "short-ner", text, parameters={"stride": 9}), "token-classify")["items"]
    assert 1 < fewer["windows"] < more["windows"] and fewer["tokens"] < more["tokens"]
    assert more["entities"] == item["entities"]

    cut, short = result(infer(server, "short-ner", [text, "Bob"], options={"truncate": True}), "token-classify")["items"]
    assert cut["truncated"] is True and cut["entities"] == [] and "windows" not in cut and cut["tokens"] == 12
    assert "windows" not in short and "truncated" not in short and short["entities"]
    refused, short = result(infer(server, "short-ner", [text, "Bob"], options={"truncate": False}), "token-classify")["items"]
    assert "12" in refused["error"]["message"] and refused["error"]["code"] == "context_length_exceeded"
    assert short["entities"]

    endless = "w " * 12000
    (item,) = result(infer(server, "short-ner", endless), "token-classify")["items"]
    assert "1024" in item["error"]["message"], item
    with server.stream("/api/inference/stream", {"model": "short-ner", "inputs": text}) as stream:
        (event,) = [event.json() for event in stream if event.event == "result"]
    assert event["windows"] > 3 and len(event["entities"]) == 2


@pytest.mark.parametrize(
    ("model", "options", "says"),
    (
        ("short-ner", {"stride": 10}, "0 to 9"),
        ("short-ner", {"stride": -1}, "stride"),
        ("short-ner", {"stride": 2, "truncate": False}, "truncate"),
        ("cls", {"stride": 2}, "classify"),
    ),
)
def test_strides_that_cannot_be(server, model, options, says):
    answer = infer(server, model, "x", options=options)
    assert answer.status == 400 and says in answer.error()["message"], answer
    assert "stride" in answer.error()["param"], answer


def test_zero_shot(server):
    options = {"candidate_labels": ["cat", "dog"], "hypothesis_template": "It is about a {}."}
    items = result(infer(server, "zs", ["the dog"], task="zero-shot-classification", parameters=options), "zero-shot")
    labels = items["items"][0]["labels"]
    assert labels[0]["label"] == "dog" and abs(sum(label["score"] for label in labels) - 1) < 1e-5


def test_tensors(server):
    inputs = {
        "f": {"dtype": "float32", "data": [[1.5, -2], ["NaN", "Infinity"]]},
        "i": {"dtype": "int64", "shape": [2], "data": [9007199254740993, -1]},
        "b": {"dtype": "bool", "data": [True, False]},
        "h": {"dtype": "float16", "data": [0.5]},
        "s": {"dtype": "string", "data": ["é", ""]},
        "u": {"dtype": "uint8", "shape": [3], "data": base64.b64encode(b"\x00\x7f\xff").decode()},
        "n": {"dtype": "float32", "shape": [0, 2], "data": []},
    }
    outputs = result(infer(server, "raw", inputs), "tensor")["outputs"]
    assert outputs["f"] == {"dtype": "float32", "shape": [2, 2], "data": [[1.5, -2], ["NaN", "Infinity"]]}
    assert outputs["i"] == {"dtype": "int64", "shape": [2], "data": [9007199254740993, -1]}
    assert outputs["b"]["data"] == [True, False]
    assert outputs["h"]["data"] == [0.5]
    assert outputs["s"]["data"] == ["é", ""]
    assert outputs["u"]["data"] == [0, 127, 255]
    assert outputs["n"] == {"dtype": "float32", "shape": [0, 2], "data": []}
    only = result(infer(server, "raw", inputs, options={"outputs": ["f"], "encoding_format": "base64"}), "tensor")
    assert list(only["outputs"]) == ["f"]
    assert struct.unpack("<4f", base64.b64decode(only["outputs"]["f"]["data"]))[:2] == (1.5, -2)


def test_large_tensor(server):
    """Megabytes there and back, through a frame and, as an event, past what a stream buffers."""
    data = base64.b64encode(bytes(range(256)) * 16384).decode()
    inputs = {"x": {"dtype": "uint8", "shape": [4194304], "data": data}}
    fields = {"options": {"encoding_format": "base64"}}
    assert result(infer(server, "raw", inputs, **fields), "tensor")["outputs"]["x"]["data"] == data
    with server.stream("/api/inference/stream", {"model": "raw", "inputs": inputs, **fields}) as stream:
        events = {event.event: event.json() for event in stream}
    assert events["result"]["outputs"]["x"]["data"] == data
    assert events["done"]["task"] == "tensor"


def test_failed_tensors_fail_the_request(server):
    answer = infer(server, "raw", {"fail": {"dtype": "int8", "data": [1]}})
    assert answer.status >= 400 and answer.error()["message"], answer


def test_one_bad_item_among_good_ones(server):
    answer = infer(server, "emb", ["a", "[[fail_at=0]]", "b"])
    items = result(answer, "embed")["items"]
    assert "embedding" in items[0] and "embedding" in items[2]
    assert set(items[1]["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["meta"]["items"] == 3 and answer.json()["meta"]["failed"] == 1
    alone = result(infer(server, "emb", ["a", "b"]), "embed")["items"]
    assert alone[0] == items[0] and alone[1] == items[2]


def test_task_of_the_model_when_none_is_named(server):
    for model, task in (("emb", "embed"), ("cls", "classify"), ("ner", "token-classify")):
        result(infer(server, model, "x"), task)
    answer = infer(server, "chat", "x")
    assert answer.status == 400 and "/v1/chat/completions" in answer.error()["message"], answer
    answer = infer(server, "emb", "x", task="classify")
    assert answer.status == 400 and "/v1/embeddings" in answer.error()["message"], answer
    answer = infer(server, "chat", {"x": {"dtype": "int8", "data": [1]}})
    assert answer.status == 400, answer
    answer = infer(server, "rr", "x")
    assert answer.status == 400 or "error" in answer.json()["result"]["results"][0], answer


def test_model_id_and_default(server):
    body = {"model_id": "emb", "inputs": "x"}
    assert server.post("/api/inference", body).json()["model"] == "emb"


# --- streams ---


def test_stream(server):
    with server.stream("/api/inference/stream", {"model": "emb", "inputs": ["a", "[[fail_at=0]]", "b"]}) as stream:
        head = stream.start()
        events = list(stream)
    assert head.header("x-accel-buffering") == "no"
    names = [event.event for event in events]
    assert names[0] == "progress" and names[-1] == "done" and names.count("result") == 3
    ids = {event.json()["request_id"] for event in events}
    assert ids == {head.header("x-request-id")}
    results = [event.json() for event in events if event.event == "result"]
    assert [body["index"] for body in results] == [0, 1, 2]
    assert "embedding" in results[0] and "error" in results[1]
    assert events[-1].json()["meta"]["failed"] == 1


def test_stream_by_accept_header(server):
    with server.stream("/api/inference", {"model": "cls", "inputs": "cat"}, headers={"Accept": "text/event-stream"}) as stream:
        assert [event.event for event in stream][-1] == "done"


def test_stream_errors(daemon):
    server = daemon(models={"emb": "fake:task=embed,slots=1"}, backoff_min="20ms")
    server.expect_errors("worker|model")
    answer = server.post("/api/inference/stream", {"model": "emb", "inputs": []})
    assert answer.status == 400 and answer.error()["param"] == "inputs", answer
    inputs = [f"text {i}" for i in range(64)] + ["[[crash_at=0]]"]
    with server.stream("/api/inference/stream", {"model": "emb", "inputs": inputs}) as stream:
        events = list(stream)
    assert events[-1].event == "error" and "worker" in events[-1].json()["error"]["message"]


def test_slow_reader_of_a_stream(daemon):
    """Results wait for their reader: the worker is held back, and everything arrives."""
    server = daemon(models={"emb": "fake:task=embed,dims=4096", "other": "fake:task=embed"})
    body = {"model": "emb", "inputs": [f"text {i}" for i in range(600)]}
    with server.stream("/api/inference/stream", body, receive_buffer=4096) as stream:
        assert stream.next_event().event == "progress"
        server.wait_metric("roundhouse_runs_paused", lambda value: value == 1)
        assert server.rss() < 400 * 1024 * 1024
        assert infer(server, "other", "x").status == 200
        results = [event.json()["index"] for event in stream if event.event == "result"]
    assert results == list(range(600))
    server.wait_idle()


# --- cancelling ---


def test_cancel_a_stream(server):
    body = {"model": "chat", "messages": [{"role": "user", "content": "[[tokens=100000 delay_ms=5]]"}], "stream": True}
    with server.stream("/v1/chat/completions", body) as stream:
        head = stream.start()
        stream.next_event()
        answer = server.post(f"/api/inference/cancel/{head.header('x-request-id')}", None)
        assert answer.status == 200 and answer.json() == {"request_id": head.header("x-request-id"), "cancelled": True}
        last = [event for event in stream if event.data != "[DONE]"][-1].json()
    assert last["error"]["code"] == "request_cancelled"
    server.wait_idle()


def test_cancel_by_the_clients_own_id(daemon):
    server = daemon(models={"emb": "fake:task=embed,step_ms=200"})
    answers = []
    body = {"model": "emb", "inputs": [f"text {i} " * 40 for i in range(2000)]}

    def ask():
        answers.append(server.post("/api/inference", body, headers={"X-Request-Id": "my-own.id:7"}))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        poll(lambda: server.post("/api/inference/cancel/my-own.id:7", None).status == 200, 10, "a request to cancel")
    finally:
        thread.join()
    (answer,) = answers
    assert answer.status == 499 and answer.error()["code"] == "request_cancelled", answer
    assert answer.header("x-request-id") == "my-own.id:7"
    server.wait_idle(seconds=20)
    again = server.post("/api/inference/cancel/my-own.id:7", None)
    assert again.status == 404 and again.error()["param"] == "request_id", again


def test_ids_that_are_not_taken(server):
    for wanted in ("a b", 'x"y', "x" * 48, "é"):
        answer = server.post("/api/inference", {"model": "emb", "inputs": "x"}, headers={"X-Request-Id": wanted})
        assert answer.status == 200 and answer.header("x-request-id").startswith("req-"), answer
    assert server.get("/api/inference/cancel/x").status == 405
    assert server.post("/api/inference/cancel/", None).status == 404


def test_nothing_is_left(server):
    server.wait_idle()

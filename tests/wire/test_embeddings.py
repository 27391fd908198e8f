# SPDX-License-Identifier: Apache-2.0
"""POST /v1/embeddings, /api/embed and /api/embeddings, with the fake engine and the real client packages."""

import asyncio
import base64
import json
import math
import os
import signal
import struct

import ollama
import openai
import pytest

from harness.clients import async_openai_client, ollama_client, openai_client
from harness.terminal import roundhouse
from harness.wait import poll

MODELS = {"emb": "fake:task=embed,dims=8", "chat": "fake:slots=2"}
WORKER_LOST = "worker|model"


@pytest.fixture(scope="module")
def server(module_daemon):
    return module_daemon(models=MODELS, default_model="emb")


@pytest.fixture(scope="module")
def client(server):
    return openai_client(server)


def embed(server, inputs, **fields):
    return server.post("/v1/embeddings", {"model": "emb", "input": inputs, **fields})


def vectors(answer):
    assert answer.status == 200, answer
    return [row["embedding"] for row in answer.json()["data"]]


def floats(text):
    data = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def single(value):
    """The same number as a float of 32 bits."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


# --- OpenAI ---


def test_openai_package(client):
    answer = client.embeddings.create(model="emb", input=["red apple", "green pear", "red apple"])
    assert (answer.object, answer.model) == ("list", "emb")
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert {row.object for row in answer.data} == {"embedding"}
    assert all(len(row.embedding) == 8 and isinstance(row.embedding[0], float) for row in answer.data)
    assert answer.data[0].embedding == answer.data[2].embedding != answer.data[1].embedding
    assert math.isclose(sum(x * x for x in answer.data[0].embedding), 1, rel_tol=1e-5)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens == 12
    assert answer.acceleration["engine"] == "fake" and answer.acceleration["batch_size"] >= 1


def test_async_openai_package(server):
    async def run():
        async with async_openai_client(server) as client:
            return await asyncio.gather(
                *(client.embeddings.create(model="emb", input=f"text {i}") for i in range(20)),
                client.embeddings.create(model="emb", input="text 0", encoding_format="float"),
            )

    *answers, plain = asyncio.run(run())
    assert len({tuple(answer.data[0].embedding) for answer in answers}) == 20
    assert list(answers[0].data[0].embedding) == [single(x) for x in plain.data[0].embedding]


def test_float_and_base64_are_the_same_numbers(server):
    """What is written as digits reads back as the very same float."""
    inputs = [f"word{i} and more" for i in range(50)]
    digits = vectors(embed(server, inputs))
    packed = vectors(embed(server, inputs, encoding_format="base64"))
    for one, other in zip(digits, packed):
        assert [single(x) for x in one] == floats(other)


@pytest.mark.parametrize("inputs, count", [("a", 1), (["a"], 1), (["a", "b"], 2), ("", 1), ([[5, 6], [7]], 2), ([5, 6], 1)])
def test_input_shapes(server, inputs, count):
    assert len(vectors(embed(server, inputs))) == count


def test_dimensions(client):
    whole = client.embeddings.create(model="emb", input="red apple").data[0].embedding
    short = client.embeddings.create(model="emb", input="red apple", dimensions=3).data[0].embedding
    size = math.sqrt(sum(x * x for x in whole[:3]))
    assert len(short) == 3
    assert all(math.isclose(x, y / size, rel_tol=1e-5) for x, y in zip(short, whole))
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="emb", input="x", dimensions=9)


def test_prompts(server):
    plain, query, own = (
        vectors(embed(server, "apple", **fields))[0]
        for fields in ({}, {"prompt_name": "query"}, {"prompt": "query: "})
    )
    assert query == own != plain
    answer = embed(server, "apple", prompt_name="nonsense")
    assert answer.status == 400 and "nonsense" in answer.error()["message"], answer


def test_many_inputs_in_order(server):
    """2,048 at once; each vector is that of its own text."""
    inputs = [f"number {i % 97}" for i in range(2048)]
    answer = embed(server, inputs)
    rows = answer.json()["data"]
    assert [row["index"] for row in rows] == list(range(2048))
    alone = {text: vectors(embed(server, text))[0] for text in sorted(set(inputs))}
    assert all(row["embedding"] == alone[text] for row, text in zip(rows, inputs))
    assert embed(server, inputs + ["x"]).status == 400


def test_long_texts_are_cut_and_told(daemon):
    server = daemon(models={"emb": "fake:task=embed,context=8"})
    answer = embed(server, ["short", "one two three four five six seven eight nine", "short"])
    assert answer.json()["truncated"] == [1]
    assert vectors(answer)[0] == vectors(answer)[2]
    answer = embed(server, ["short", "one two three four five six seven eight nine"], truncate=False)
    assert answer.status == 400, answer
    assert answer.error()["param"] == "input[1]" and "input[1]" in answer.error()["message"]


def test_one_bad_input_is_named(server):
    answer = embed(server, ["a", "b", "[[fail_at=0]]"])
    assert answer.status == 500 and answer.error()["param"] == "input[2]", answer
    assert "told to fail" in answer.error()["message"]


def test_warnings_for_unknown_fields(server):
    answer = embed(server, "a", frobnicate=1, user="me")
    assert answer.json()["warnings"] == ["frobnicate"]


# --- the task must fit the model ---


def test_model_for_something_else(client, server):
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions") as caught:
        client.embeddings.create(model="chat", input="x")
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        client.chat.completions.create(model="emb", messages=[{"role": "user", "content": "x"}])
    assert server.post("/generate", {"model": "emb", "prompt": "x"}).status == 400
    assert server.post("/v1/rerank", {"model": "emb", "query": "q", "documents": ["d"]}).status == 400


def test_model_for_something_else_before_its_first_load(daemon):
    """Nobody knows before the load what the model is for; the stream has not begun when it is known."""
    server = daemon(models=MODELS, preload=False)
    answer = server.post("/v1/chat/completions", {"model": "emb", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    assert answer.status == 400 and "/v1/embeddings" in answer.error()["message"], answer
    answer = server.post("/v1/embeddings", {"model": "chat", "input": "x"})
    assert answer.status == 400 and "/v1/chat/completions" in answer.error()["message"], answer
    server.wait_idle()


def test_models_list_tells_what_a_model_is_for(server, client):
    vectors(embed(server, "x"))
    model = client.models.retrieve("emb")
    assert model.roundhouse["task"] == "embed" and model.roundhouse["dimensions"] == 8
    status = server.get("/api/models/status/emb").json()
    assert status["task"] == "embed" and status["dimensions"] == 8


# --- account ---


def test_metrics_and_last_request(daemon):
    server = daemon(models=MODELS)
    server.expect_errors("told to fail")
    answer = embed(server, ["red apple", "pear"])
    labels = {"gen_ai_operation_name": "embeddings"}
    server.wait_metric("roundhouse_requests_total", lambda value: value == 1, status="200", **labels)
    assert server.metric("roundhouse_items_total", **labels) == 2
    assert server.metric("roundhouse_prompt_tokens_total", gen_ai_response_model="emb") == 7
    last = server.get("/last_request_stats").json()
    assert last["request_id"] == answer.header("x-request-id")
    assert (last["task"], last["items"], last["items_failed"], last["prompt_tokens"]) == ("embed", 2, 0, 7)
    assert last["prompt_hash"] and last["batch_size"] >= 1
    entry = server.log(message="request")[-1]
    assert (entry["operation"], entry["items"], entry["prompt_tokens"]) == ("embeddings", 2, 7)
    assert "apple" not in server.log_text()


# --- workers ---


def test_worker_lost_once(daemon, tmp_path):
    """What the first worker had done is void; the second does all of it, and nothing stands twice in the answer."""
    server = daemon(models={"emb": "fake:task=embed,dims=8,slots=1"}, backoff_min="20ms")
    server.expect_errors(WORKER_LOST)
    mark = tmp_path / "crashed"
    inputs = [f"text {i}" for i in range(200)] + [f"[[crash_once={mark}]]"] + ["end"]
    answer = embed(server, inputs)
    assert mark.exists()
    rows = answer.json()["data"]
    assert [row["index"] for row in rows] == list(range(len(inputs)))
    assert rows[0]["embedding"] == vectors(embed(server, "text 0"))[0]
    assert rows[-1]["embedding"] == vectors(embed(server, "end"))[0]


def test_worker_killed_every_time(daemon):
    server = daemon(models={"emb": "fake:task=embed"}, backoff_min="20ms", backoff_max="50ms")
    server.expect_errors(WORKER_LOST)
    answer = embed(server, ["a", "[[crash_at=0]]"])
    assert answer.status == 503, answer
    assert vectors(embed(server, "a"))


def test_client_leaves(daemon):
    server = daemon(models={"emb": "fake:task=embed,step_ms=300"})
    inputs = [f"text {i} " * 40 for i in range(2000)]
    with server.connect() as connection:
        connection.send_request("POST", "/v1/embeddings", {"model": "emb", "input": inputs})
        server.wait_active(1)
        connection.abort()
    server.wait_idle(seconds=20)
    server.wait_metric("roundhouse_runs_cancelled_total", lambda value: value == 1, seconds=20)


def test_time_is_over(daemon):
    server = daemon(models={"emb": "fake:task=embed"})
    answer = embed(server, "[[delay_ms=1500]]", timeout=0.2)
    assert answer.status == 504, answer
    server.wait_idle(seconds=20)


def test_worker_is_killed_while_it_computes(daemon):
    server = daemon(models={"emb": "fake:task=embed,step_ms=400"}, backoff_min="20ms")
    server.expect_errors(WORKER_LOST)
    with server.connect() as connection:
        connection.send_request("POST", "/v1/embeddings", {"model": "emb", "input": ["a", "b"]})
        server.wait_active(1)
        pid = server.worker_pid()
        os.kill(pid, signal.SIGKILL)
        answer = connection.read_response("POST")
    assert len(vectors(answer)) == 2
    assert server.metric("roundhouse_request_retries_total") == 1


# --- limits ---


def test_body_too_large(daemon):
    server = daemon(models={"emb": "fake:task=embed"}, body_bytes_max="64KiB")
    answer = embed(server, "x" * 100_000)
    assert answer.status == 413 and "body_bytes_max" in answer.error()["message"], answer
    answer = server.post("/api/embed", {"model": "emb", "input": "x" * 100_000})
    assert answer.status == 413 and isinstance(answer.json()["error"], str), answer


def test_large_answer(daemon):
    """Tens of megabytes, as numbers and as base64."""
    server = daemon(models={"emb": "fake:task=embed,dims=4096"})
    inputs = [f"number {i}" for i in range(600)]
    digits = embed(server, inputs)
    assert len(digits.body) > 20_000_000
    assert [single(x) for x in vectors(digits)[599]] == floats(vectors(embed(server, inputs, encoding_format="base64"))[599])


# --- Ollama ---


def test_ollama_package(server):
    client = ollama_client(server)
    answer = client.embed(model="emb", input=["red apple", "pear"])
    assert answer.model == "emb" and len(answer.embeddings) == 2 and len(answer.embeddings[0]) == 8
    assert answer.prompt_eval_count == 7
    assert answer.total_duration > 0 and answer.load_duration >= 0
    assert list(answer.embeddings[0]) == vectors(embed(server, "red apple"))[0]
    one = client.embed(model="emb", input="red apple", truncate=True, options={"num_ctx": 128}, keep_alive="1m")
    assert one.embeddings[0] == answer.embeddings[0]
    assert len(client.embed(model="emb", input="x", dimensions=4).embeddings[0]) == 4
    assert list(client.embeddings(model="emb", prompt="red apple").embedding) == list(answer.embeddings[0])


def test_ollama_async_package(server):
    async def run():
        return await ollama.AsyncClient(host=server.url, trust_env=False).embed(model="emb", input="red apple")

    assert len(asyncio.run(run()).embeddings) == 1


def test_ollama_normalizes(daemon):
    """/api/embed always; the older call gives what the model gives."""
    server = daemon(models={"emb": "fake:task=embed,normalize=0"})
    client = ollama_client(server)
    new = client.embed(model="emb", input="red apple").embeddings[0]
    old = client.embeddings(model="emb", prompt="red apple").embedding
    assert math.isclose(sum(x * x for x in new), 1, rel_tol=1e-5)
    assert not math.isclose(sum(x * x for x in old), 1, rel_tol=1e-2)


def test_ollama_errors(server):
    client = ollama_client(server)
    with pytest.raises(ollama.ResponseError, match="/v1/chat/completions") as caught:
        client.embed(model="chat", input="x")
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="nowhere") as caught:
        client.embed(model="nowhere", input="x")
    assert caught.value.status_code == 404
    for path, body in (
        ("/api/embed", {"model": "emb"}),
        ("/api/embed", {"model": "emb", "input": "x", "frob": 1}),
        ("/api/embed", {"model": "emb", "input": ["a", "[[fail_at=0]]"]}),
        ("/api/embeddings", {"model": "emb", "prompt": ["x"]}),
    ):
        answer = server.post(path, body)
        assert answer.status in (400, 500) and set(answer.json()) == {"error"}, answer
        assert isinstance(answer.json()["error"], str)


# --- the command ---


def test_embed_command(server, tmp_path):
    done = roundhouse("embed", "emb", "red apple", "pear", folder=tmp_path, server=server)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == vectors(embed(server, ["red apple", "pear"]))
    texts = [f"text {i}" for i in range(150)]
    done = roundhouse(
        "embed", "--json", "--dimensions", "2", "--prompt-name", "query", "emb", folder=tmp_path, server=server,
        stdin="".join(f"{text}\n" for text in texts),
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == texts
    assert [row["embedding"] for row in rows] == vectors(embed(server, texts, dimensions=2, prompt_name="query"))
    done = roundhouse("embed", "chat", "x", folder=tmp_path, server=server)
    assert done.returncode == 1 and "/v1/chat/completions" in done.stderr and done.stdout == ""
    assert roundhouse("embed", folder=tmp_path, server=server).returncode == 2


def test_accept_header_does_not_make_a_stream(server):
    answer = server.post("/v1/embeddings", {"model": "emb", "input": "x"}, headers={"Accept": "text/event-stream"})
    assert answer.header("content-type") == "application/json" and len(vectors(answer)) == 1


def test_nothing_is_left(server):
    poll(lambda: server.health()["requests_in_flight"] == 0, 10, "no request in flight")
    server.wait_idle()
    assert json.loads(server.get("/last_request_stats").body)

# SPDX-License-Identifier: Apache-2.0
"""Remote answers on their way: clients that leave, read slowly or have no time, several answers at once, and the end of the
daemon in the middle of them."""

import signal
import threading
import time

import pytest

from harness.gateway_clients import CLIENTS, ask, body_of, path_of
from harness.http import Closed
from harness.upstream import Reply
from harness.wait import SCALE, holds_for, poll, roomy, scaled

PROTOCOLS = {
    "chat": {"type": "openai-compatible"},
    "responses": {"type": "openai-compatible", "protocol": "responses"},
    "anthropic": {"type": "anthropic", "apiKey": "sk-ant-test-key"},
}


def start(daemon, upstream, protocol="chat", fields=None, **settings):
    entry = {**PROTOCOLS[protocol], "baseUrl": upstream.url, "maxRetries": 0, "models": ["m"], **(fields or {})}
    config = {
        "providers": {"up": entry, "local": {"type": "local"}},
        "routing": {"groups": {"chain": {"members": ["up/m"], "fallback": ["local/fake"]}}},
    }
    return daemon(config=config, **settings)


# --- who leaves ---


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("point", ("headers", "first", "middle", "end"))
def test_the_provider_hears_that_the_client_left(daemon, upstream, protocol, client, point):
    server = start(daemon, upstream, protocol)
    upstream.answer = Reply(stall=point)
    for stream in (False, True):
        already = len(upstream.requests)
        with server.connect() as connection:
            connection.send_request("POST", path_of(client), body_of(client, "x", "up/m", stream))
            seen = upstream.wait(already + 1)[-1]
            if stream and point in ("middle", "end"):
                connection.read_head()
            connection.abort()
        upstream.wait_left(seen)
    server.wait_idle()


def test_leaving_between_two_members(daemon, upstream):
    """A hundred clients that come and go at all moments leave nothing behind."""
    server = start(daemon, upstream, breaker_failures=0, retry_budget=10)
    before = server.fds()
    upstream.answer = Reply(status=500, drip=0.01)
    for number in range(100):
        with server.connect() as connection:
            connection.send_request("POST", path_of("openai"), body_of("openai", "[[delay_ms=5]]", "chain", number % 2))
            if number % 3 == 0:
                connection.read_head()
            if number % 5 == 0:
                connection.abort()
    server.wait_idle()
    poll(lambda: server.fds() <= before + 8, 5, "the descriptors")
    assert ask(server, "openai", "x", "chain").status == 200


# --- who has no time ---


@pytest.mark.parametrize("stall", ("headers", "first", "middle"))
@pytest.mark.parametrize("stream", (False, True))
@pytest.mark.parametrize("client", CLIENTS)
def test_the_deadline_bounds_everything(daemon, upstream, client, stream, stall):
    """Longer patience of a provider, retries, and members still to come: the request's own time is over first."""
    server = start(daemon, upstream, fields={"maxRetries": 5, "retryDelay": "10s"}, request_timeout=f"{0.4 * SCALE}s")
    upstream.answer = Reply(stall=stall)
    began = time.monotonic()
    outcome = ask(server, client, "x", "chain", stream=stream)
    took = time.monotonic() - began
    assert 0.35 * SCALE < took < 0.4 * SCALE + scaled(1)
    assert outcome.status == (200 if stream and stall == "middle" else 504), outcome
    assert outcome.error_type == ("timeout_error" if client == "anthropic" else "server_error")
    assert "deadline" in outcome.error
    upstream.wait_left(upstream.requests[0])
    assert len(upstream.requests) == 1


def test_the_deadline_in_the_queue(daemon, upstream):
    server = start(daemon, upstream, fields={"concurrency": 1})
    upstream.answer = Reply(stall="headers")
    with server.chat_stream("x", "up/m"):
        upstream.wait(1)
        outcome = ask(server, "openai", "x", "up/m", timeout=0.2 * SCALE)
        assert outcome.status == 504 and "queue" in outcome.error
    assert len(upstream.requests) == 1


def test_a_slow_drip_ends_at_the_deadline(daemon, upstream):
    server = start(daemon, upstream, request_timeout=f"{0.5 * SCALE}s")
    upstream.answer = Reply(pieces=["drop "] * 1000, drip=0.02)
    outcome = ask(server, "openai", "x", "up/m", stream=True)
    assert "deadline" in outcome.error and outcome.text.startswith("drop drop ")
    outcome = ask(server, "openai", "x", "up/m")
    assert outcome.status in (200, 504)  # a whole answer does not drip for long
    server.wait_idle()


# --- several at once ---


def two_answers(server, model, stream, look=lambda choice: None):
    """Their texts, which of them ended, and the error; each choice is shown to look() as it comes."""
    body = body_of("openai", "[[text=Well said.]]", model, stream, n=2)
    texts, finished = {0: "", 1: ""}, []

    def take(choice):
        part = choice["delta" if stream else "message"]
        texts[choice["index"]] += part.get("content") or ""
        if choice.get("finish_reason"):
            finished.append(choice["index"])
        look(choice)

    error = None
    if stream:
        with server.stream(path_of("openai"), body) as answer:
            for event in answer:
                assert error is None or event.data == "[DONE]", "an error is the end"
                said = {} if event.data == "[DONE]" else event.json()
                error = error or said.get("error")
                for choice in said.get("choices", []):
                    take(choice)
    else:
        said = server.post(path_of("openai"), body).json()
        error = said.get("error")
        for choice in said.get("choices", []):
            take(choice)
    return texts, sorted(finished), error


@pytest.mark.parametrize("model", ("up/m", "chain"))
@pytest.mark.parametrize("stream", (False, True))
def test_two_answers_to_one_request(daemon, upstream, model, stream):
    server = start(daemon, upstream)
    assert two_answers(server, model, stream) == (dict.fromkeys((0, 1), "Hello from upstream."), [0, 1], None)
    server.wait_idle()


@pytest.mark.parametrize("stream", (False, True))
def test_one_of_two_answers_fails_before_the_other_begins(daemon, upstream, stream):
    """Nobody has seen anything: both come from the next model, and the other is not waited for."""
    server = start(daemon, upstream)
    upstream.then(Reply(status=500), Reply(stall="headers"))
    assert two_answers(server, "chain", stream) == (dict.fromkeys((0, 1), "Well said."), [0, 1], None)
    for seen in upstream.requests:
        poll(lambda seen=seen: seen.left or seen.done, 5, "every request there is over")
    server.wait_idle()


def test_one_of_two_answers_fails_after_the_other_has_begun(daemon, upstream):
    """What a client has seen is not taken back, and nobody can go on with one of two answers: the stream ends."""
    server = start(daemon, upstream)
    upstream.then(Reply(status=500, stall="headers"))

    def fail_now(choice):
        if choice["delta"].get("content"):
            upstream.wait(2)
            upstream.release()

    texts, finished, error = two_answers(server, "chain", True, fail_now)
    assert error["type"] == "server_error" and "500" in error["message"], error
    silent, begun = sorted(texts.values())
    assert silent == "" and begun != "" and "Hello from upstream.".startswith(begun)
    assert len(finished) == (begun == "Hello from upstream.")
    server.wait_idle()


@pytest.mark.parametrize("said", ("Hello from upstream.", ""))
def test_one_of_two_answers_has_ended_when_the_other_fails(daemon, upstream, said):
    """A stream has shown its end, even where it has no words."""
    server = start(daemon, upstream)
    upstream.then(Reply(said), Reply(status=500, stall="headers"))

    def fail_now(choice):
        if choice["finish_reason"]:
            upstream.wait(2)
            upstream.release()

    texts, finished, error = two_answers(server, "chain", True, fail_now)
    assert error is not None and len(finished) == 1
    assert sorted(texts.values()) == ["", said]
    server.wait_idle()
    assert ask(server, "openai", "x", "local/fake").status == 200


@pytest.mark.parametrize("said", ("Hello from upstream.", ""))
def test_one_of_two_answers_is_whole_when_the_other_fails(daemon, upstream, said):
    """Nobody has seen the whole one yet: both come from the next model, and only those count."""
    server = start(daemon, upstream, fields={"firstTokenTimeout": f"{0.4 * SCALE}s"})
    upstream.then(Reply(said), Reply(stall="headers"))
    answer = server.post(path_of("openai"), body_of("openai", "[[text=Well said.]]", "chain", False, n=2))
    assert answer.status == 200, answer
    whole = answer.json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["Well said."] * 2
    server.wait_idle()
    assert server.get("/last_request_stats").json()["tokens"] == whole["usage"]["completion_tokens"]
    assert ask(server, "openai", "x", "local/fake").status == 200


@pytest.mark.parametrize("model", ("up/m", "chain"))
@pytest.mark.parametrize("stream", (False, True))
def test_several_prompts(daemon, upstream, model, stream):
    server = start(daemon, upstream)
    upstream.choose = lambda seen: Reply(f"On {seen.body['prompt'].split()[0]}.")
    if model == "chain":
        upstream.choose = lambda seen: Reply(status=500) if "two" in seen.body["prompt"] else Reply(stall="headers")
    prompts = [f"{word} [[text=On {word}.]]" for word in ("one", "two", "three")]
    body = {"model": model, "prompt": prompts, "stream": stream, "max_tokens": 20}
    texts = {0: "", 1: "", 2: ""}
    if stream:
        with server.stream("/v1/completions", body) as answer:
            for event in answer:
                for choice in [] if event.data == "[DONE]" else event.json()["choices"]:
                    texts[choice["index"]] += choice["text"]
    else:
        answer = server.post("/v1/completions", body)
        assert answer.status == 200, answer
        for choice in answer.json()["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == {0: "On one.", 1: "On two.", 2: "On three."}
    if model == "chain":
        for seen in upstream.requests:
            poll(lambda seen=seen: seen.left or seen.done, 5, "every request there is over")


# --- who reads slowly ---


@pytest.mark.parametrize("protocol", ("chat", "anthropic"))
def test_a_slow_reader_slows_the_provider(daemon, upstream, protocol):
    """24 MiB that nobody reads stay at the provider; then all of it arrives, long after the provider's own patience."""
    silence = 0.2 * SCALE
    server = start(daemon, upstream, protocol, {"idleTimeout": f"{silence}s"})
    piece = "0123456789abcdef" * 4096
    count = 384
    upstream.answer = Reply(pieces=[piece] * count)
    before = server.rss()
    with server.stream(
        path_of("openai"), body_of("openai", "x", "up/m", True), receive_buffer=65536
    ) as answer:
        answer.next_text()
        seen = upstream.requests[0]
        holds_for(lambda: not seen.done and not seen.left, 3 * silence, "the provider waits")
        assert server.rss() - before < roomy(16 << 20)
        length = len(piece)
        for event in answer:
            if event.data == "[DONE]":
                break
            body = event.json()
            assert "error" not in body, body
            for choice in body["choices"]:
                length += len(choice["delta"].get("content") or "")
        assert length == count * len(piece)
    server.wait_idle()


def test_a_slow_reader_who_leaves(daemon, upstream):
    server = start(daemon, upstream)
    upstream.answer = Reply(pieces=["0123456789abcdef" * 4096] * 384)
    with server.stream(path_of("openai"), body_of("openai", "x", "up/m", True), receive_buffer=65536) as answer:
        answer.next_text()
        seen = upstream.requests[0]
    upstream.wait_left(seen)
    server.wait_idle()


# --- the daemon's end ---


@pytest.mark.parametrize("stream", (False, True))
def test_shutdown_lets_remote_requests_finish(daemon, upstream, stream):
    server = start(daemon, upstream, shutdown_grace="20s")
    upstream.answer = Reply(stall="middle")
    outcomes = []
    asker = threading.Thread(target=lambda: outcomes.append(ask(server, "openai", "x", "up/m", stream=stream)))
    asker.start()
    seen = upstream.wait(1)[0]
    server.send_signal(signal.SIGTERM)
    poll(lambda: server.log(message="shutting down") or refuses(server), 10, "the daemon refuses new work")
    upstream.release()
    asker.join(scaled(10))
    assert outcomes[0].text == "Hello from upstream." and outcomes[0].finished
    assert server.wait_exit() == 0
    assert not seen.left


def refuses(server):
    try:
        return ask(server, "openai", "x", "local/fake", wait=2).status == 503
    except (OSError, Closed):
        return True


@pytest.mark.parametrize("stream", (False, True))
def test_shutdown_ends_what_does_not_finish(daemon, upstream, stream):
    server = start(daemon, upstream, shutdown_grace=f"{0.2 * SCALE}s")
    upstream.answer = Reply(stall="middle")
    outcomes = []
    askers = [
        threading.Thread(target=lambda: outcomes.append(ask(server, CLIENTS[number % 2], "x", "chain", stream=stream)))
        for number in range(6)
    ]
    for asker in askers:
        asker.start()
    seen = upstream.wait(6)
    assert server.stop() == 0
    for asker in askers:
        asker.join(scaled(10))
    assert len(outcomes) == 6 and all(outcome.error for outcome in outcomes), outcomes
    for one in seen:
        upstream.wait_left(one)

# SPDX-License-Identifier: Apache-2.0
"""One generation for many equal requests at once: whole and streamed together, through both dialects; who asked first may
leave, who reads slowly holds nobody up, and what it cost is counted once."""

import sqlite3
import threading

import pytest

from harness.upstream import Reply
from harness.wait import poll, scaled

PRICE = {"up/m": {"input": 100, "output": 200}}
COST = (7 * 100 + 5 * 200) / 1e6


def proxy(daemon, upstream, **settings):
    provider = {
        "type": "openai-compatible",
        "baseUrl": upstream.url,
        "models": {"default": "m"},
        "maxRetries": 0,
    }
    return daemon(models={}, config={"providers": {"up": provider}, "prices": PRICE}, cache="on", **settings)


def chat_request(words, **fields):
    message = {"role": "user", "content": words}
    return "/v1/chat/completions", {
        "model": "up/m",
        "messages": [message],
        "temperature": 0,
        "max_tokens": 99,
        **fields,
    }


def message_request(words, **fields):
    path, body = chat_request(words, **fields)
    return "/v1/messages", body


def text_of(events):
    """What a stream of either dialect said."""
    said = ""
    for event in events:
        if event.data == "[DONE]":
            continue
        body = event.json()
        if body.get("type") == "content_block_delta":
            said += body["delta"].get("text", "")
        for choice in body.get("choices", []):
            said += choice["delta"].get("content") or ""
    return said


def ask(server, request):
    """(cache, text) of a request, whole or streamed, in its dialect."""
    path, body = request
    if body.get("stream"):
        with server.stream(path, body) as stream:
            assert stream.start().status == 200, stream.head
            return stream.head.header("x-roundhouse-cache"), text_of(stream)
    answer = server.post(path, body)
    assert answer.status == 200, answer
    json = answer.json()
    text = json["content"][0]["text"] if "content" in json else json["choices"][0]["message"]["content"]
    return answer.header("x-roundhouse-cache"), text


class Clients:
    """Requests in threads of their own; results in the order in which they ended."""

    def __init__(self, server):
        self.server, self.results, self.threads = server, [], []

    def start(self, request):
        thread = threading.Thread(target=lambda: self.results.append(ask(self.server, request)))
        self.threads.append(thread)
        thread.start()

    def wait_in_flight(self, count):
        poll(lambda: self.server.health()["requests_in_flight"] >= count, 20, f"{count} requests in flight")

    def join(self, upstream=None):
        """Lets what stalls at the provider go, until all have ended."""

        def over():
            if upstream is not None:
                upstream.release()
            return not any(thread.is_alive() for thread in self.threads)

        poll(over, 30, "the clients' end")
        assert len(self.results) == len(self.threads), "a client got no answer"
        return self.results


def test_a_hundred_of_all_kinds_cost_one_generation(daemon, upstream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply("All of you hear this.", stall="headers")
    clients = Clients(server)
    kinds = [chat_request("q"), chat_request("q", stream=True), message_request("q"), message_request("q", stream=True)]
    for i in range(100):
        clients.start(kinds[i % len(kinds)])
    clients.wait_in_flight(100)
    results = clients.join(upstream)
    assert {text for _, text in results} == {"All of you hear this."}
    assert sorted(cache for cache, _ in results) == ["hit"] * 99 + ["miss"]
    assert len(upstream.requests) == 1
    assert ask(server, kinds[1]) == ("hit", "All of you hear this.")
    assert len(upstream.requests) == 1


def test_others_are_not_shared(daemon, upstream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply(stall="headers")
    clients = Clients(server)
    for request in (chat_request("a"), chat_request("b"), chat_request("a", max_tokens=98)):
        clients.start(request)
    upstream.wait(3)
    assert sorted(cache for cache, _ in clients.join(upstream)) == ["miss"] * 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_came_first_may_leave(daemon, upstream, stream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply("one two three four", stall="headers")
    path, body = chat_request("q", stream=stream)
    first = server.stream(path, body)
    seen = upstream.wait(1)[0]
    clients = Clients(server)
    clients.start(chat_request("q"))
    clients.start(chat_request("q", stream=True))
    clients.wait_in_flight(3)
    first.connection.close()
    poll(lambda: server.health()["requests_in_flight"] == 2, 10, "the first one's end")
    results = clients.join(upstream)
    assert [text for _, text in results] == ["one two three four"] * 2
    assert not seen.left and len(upstream.requests) == 1


def test_when_all_have_left_the_work_ends(daemon, upstream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply(stall="headers")
    path, body = chat_request("q", stream=True)
    first, second = server.stream(path, body), server.stream(path, body)
    seen = upstream.wait(1)[0]
    poll(lambda: server.health()["requests_in_flight"] == 2, 10, "two requests")
    first.connection.close()
    poll(lambda: server.health()["requests_in_flight"] == 1, 10, "one request")
    assert not seen.left
    second.connection.close()
    upstream.wait_left(seen)
    # And nothing half stays behind.
    upstream.answer = Reply("whole")
    assert ask(server, chat_request("q")) == ("miss", "whole")


def test_a_late_one_hears_it_from_the_beginning(daemon, upstream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply("one two three four", stall="middle")
    path, body = chat_request("q", stream=True)
    with server.stream(path, body) as first:
        assert first.next_text() == "one"
        clients = Clients(server)
        clients.start(chat_request("q", stream=True))
        clients.start(chat_request("q"))
        clients.wait_in_flight(3)
        upstream.release()
        assert "one" + text_of(first) == "one two three four"
    assert {text for _, text in clients.join()} == {"one two three four"}
    assert len(upstream.requests) == 1


def test_a_failure_is_everybodys_and_is_not_kept(daemon, upstream):
    server = proxy(daemon, upstream, breaker_failures=0)
    upstream.then(Reply(status=500, stall="headers"))
    statuses = []
    path, body = chat_request("q")
    threads = [threading.Thread(target=lambda: statuses.append(server.post(path, body).status)) for _ in range(5)]
    for thread in threads:
        thread.start()
    poll(lambda: server.health()["requests_in_flight"] == 5, 10, "five requests")
    upstream.wait(1)
    poll(lambda: upstream.release() or not any(thread.is_alive() for thread in threads), 30, "the clients' end")
    assert len(statuses) == 5 and all(status >= 500 for status in statuses)
    assert ask(server, chat_request("q"))[0] == "miss"


# --- readers of different pace ---

LONG = 3000  # tokens: more, as events, than all buffers on the way to a client that does not read


@pytest.mark.parametrize("slow_leads", [True, False], ids=["the-first-is-slow", "a-later-one-is-slow"])
def test_a_slow_reader_holds_nobody_up(daemon, slow_leads):
    server = daemon(models={"fake": "fake:slots=2,context=8192"}, cache="on", stream_buffer="4KiB")
    words = f"[[tokens={LONG} first_delay_ms=200]] long"
    body = {"messages": [{"role": "user", "content": words}], "stream": True, "temperature": 0, "max_tokens": LONG}
    quick_body = {**body, "stream": False}

    def begin_slow():
        return server.stream("/v1/chat/completions", body, receive_buffer=4096)

    results = []
    thread = threading.Thread(target=lambda: results.append(server.post("/v1/chat/completions", quick_body, timeout=60)))
    slow = begin_slow() if slow_leads else None
    if slow_leads:
        poll(lambda: server.health()["requests_in_flight"] == 1, 10, "the slow one")
    thread.start()
    poll(lambda: server.health()["requests_in_flight"] >= 1 + slow_leads, 10, "the quick one")
    slow = slow or begin_slow()
    with slow:
        slow.start()
        thread.join(scaled(60))
        assert results and results[0].status == 200, "the slow reader held the quick one up"
        whole = results[0].json()["choices"][0]["message"]["content"]
        assert len(whole.split()) == LONG
        # The slow one finds all of it when it reads at last.
        assert text_of(slow) == whole
    server.wait_idle()
    server.wait_metric("roundhouse_engine_tokens_total", lambda value: value >= LONG, kind="generated")
    assert server.metric("roundhouse_engine_tokens_total", kind="generated") == LONG


# --- what it cost ---


def usage_rows(server):
    """Rows of the ledger, read after the daemon's end: nobody else has them."""
    assert server.stop() == 0
    path = server.folder / ".local/share/roundhouse/state/state.db"
    with sqlite3.connect(path) as database:
        return database.execute("SELECT cache, outcome, cost_usd FROM usage ORDER BY id").fetchall()


def test_the_cost_is_counted_once(daemon, upstream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply(stall="headers")
    clients = Clients(server)
    for _ in range(10):
        clients.start(chat_request("q"))
    clients.wait_in_flight(10)
    clients.join(upstream)
    rows = usage_rows(server)
    assert len(rows) == 10
    assert sorted(cost for _, _, cost in rows) == [0] * 9 + [pytest.approx(COST)]
    assert [cost for cache, _, cost in rows if cache == "hit"] == [0] * 9


def test_the_cost_is_counted_though_the_first_one_left(daemon, upstream):
    server = proxy(daemon, upstream)
    upstream.answer = Reply(stall="headers")
    path, body = chat_request("q")
    first = server.stream(path, body)
    upstream.wait(1)
    clients = Clients(server)
    clients.start(chat_request("q"))
    clients.start(chat_request("q", stream=True))
    clients.wait_in_flight(3)
    first.connection.close()
    poll(lambda: server.health()["requests_in_flight"] == 2, 10, "the first one's end")
    clients.join(upstream)
    server.wait_idle()
    rows = usage_rows(server)
    assert sorted(outcome for _, outcome, _ in rows) == ["cancelled", "ok", "ok"]
    assert sum(cost for _, _, cost in rows) == pytest.approx(COST)

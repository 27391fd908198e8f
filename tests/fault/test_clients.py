# SPDX-License-Identifier: Apache-2.0
"""Clients leave, stall, flood and dribble: the work stops, memory stays flat, others are not slowed."""

import random
import re
import time

import pytest

from harness import http, procs
from harness.daemon import chat_body
from harness.http import Closed, render_request
from harness.wait import holds_for, poll, roomy, scaled

ENDLESS = "[[end=0]]"
LONG = "[[tokens=100000 delay_ms=10]]"
WORDS = "This is the fake engine speaking; it repeats itself. "


def endless(**fields):
    return chat_body(ENDLESS, stream=True, max_tokens=500_000_000, **fields)


# --- leaving ---


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_leaves_and_the_work_stops(daemon, stream, how):
    server = daemon(models={"fake": "fake:slots=1"})
    connection = server.connect()
    connection.send_request("POST", "/v1/chat/completions", chat_body(LONG, stream=stream))
    server.wait_active()
    if how == "close":
        connection.close()
    else:
        connection.abort()
    # The only slot must come free long before the 1,000 seconds this answer would take.
    assert server.chat("hi").status == 200
    server.wait_metric("roundhouse_runs_cancelled_total", lambda value: value == 1)
    server.wait_idle()


def test_work_stops_within_a_step(daemon):
    server = daemon(models={"fake": "fake:slots=1"})
    connection = server.connect()
    connection.send_request("POST", "/v1/chat/completions", chat_body(LONG, stream=True))
    server.wait_active()
    began = time.monotonic()
    connection.close()
    assert server.chat("[[tokens=1]]").status == 200
    # A step is 10 ms here; the rest is a loaded machine's share.
    assert time.monotonic() - began < scaled(1.0)


def test_client_leaves_while_it_waits_in_the_queue(daemon):
    server = daemon(models={"fake": "fake:slots=1"})
    with server.chat_stream(LONG) as running:
        running.next_text()
        waiting = [server.connect() for _ in range(3)]
        for connection in waiting:
            connection.send_request("POST", "/v1/chat/completions", chat_body(LONG))
        server.wait_queued(3)
        for connection in waiting:
            connection.close()
        server.wait_queued(0)
        running.next_text()
    server.wait_idle()


def test_client_leaves_while_the_model_loads(daemon):
    server = daemon(models={"fake": "fake:load_delay_ms=800"})
    connection = server.connect()
    connection.send_request("POST", "/v1/chat/completions", chat_body(LONG))
    poll(lambda: server.health()["requests_in_flight"] == 1, 10, "a request in flight")
    connection.abort()
    assert server.chat("hi").status == 200
    server.wait_idle()


def test_client_of_several_choices_leaves(daemon):
    server = daemon(models={"fake": "fake:slots=4"})
    with server.chat_stream(LONG, n=8) as stream:
        for _ in range(10):
            stream.next_text()
    server.wait_idle()
    assert server.chat("hi").status == 200


def test_half_closed_client_counts_as_gone(daemon):
    """A client that shuts its sending side down while it waits looks like one that left, and its work stops
    (src/http/README.md). What has been answered in full by then still arrives."""
    server = daemon(models={"fake": "fake:slots=1"})
    with server.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body(LONG))
        server.wait_active()
        connection.socket.shutdown(1)
        server.wait_idle()


@pytest.mark.parametrize("sent", ["nothing", "a part of the head", "the head", "a part of the body"])
def test_client_that_closes_early_is_let_go_at_once(daemon, sent):
    """The end of a connection may arrive in one piece with its last bytes; it must be noticed then, too, and not when
    the idle time is over."""
    server = daemon(models={"fake": "fake:slots=1"}, idle_timeout="1h")
    server.chat("warm up")
    server.wait_idle()
    whole = render_request("POST", "/v1/chat/completions", chat_body(LONG), None, server.address)
    head = whole.index(b"\r\n\r\n") + 4
    length = {"nothing": 0, "a part of the head": 20, "the head": head, "a part of the body": len(whole) - 1}[sent]
    fds = server.fds()
    for _ in range(300):
        connection = server.connect()
        connection.send(whole[:length])
        connection.close()
    poll(lambda: server.fds() <= fds + 2, 10, "the descriptors' end")
    server.wait_idle()


def test_a_thousand_connects_and_aborts(daemon):
    server = daemon(models={"fake": "fake:slots=4"})
    server.chat("warm up")
    server.wait_idle()
    fds, rss = server.fds(), server.rss()
    whole = render_request("POST", "/v1/chat/completions", chat_body(LONG, stream=True), None, server.address)
    chance = random.Random(1)
    for number in range(1000):
        connection = server.connect()
        # From nothing at all to a whole request whose answer has begun.
        connection.send(whole[: chance.choice([0, 1, 20, 100, len(whole) - 1, len(whole), len(whole)])])
        if number % 10 == 0 and chance.random() < 0.5:
            connection.socket.settimeout(0.02)
            try:
                connection.socket.recv(100)
            except OSError:
                pass
        if number % 2:
            connection.abort()
        else:
            connection.close()
    server.wait_idle(30)
    poll(lambda: server.fds() <= fds + 2, 20, "the descriptors' end")
    assert server.rss() - rss < roomy(8e6)
    assert server.chat("hi").status == 200


# --- stalling ---


def timed_chats(server, count):
    times = []
    for _ in range(count):
        began = time.monotonic()
        assert server.chat("[[tokens=4]]").status == 200
        times.append(time.monotonic() - began)
    return sorted(times)


def stalled_stream(server):
    """A client that asks for an endless answer and reads none of it, with as little room in its socket as may be."""
    stream = server.stream("/v1/chat/completions", endless(), receive_buffer=4096)
    server.wait_active()
    return stream


def generated_stands_still(server):
    """True when the engine produced nothing between two looks at the worker's own counter, a full report apart."""
    worker = server.worker_pid()
    before = procs.cpu_seconds(worker)
    began = time.monotonic()
    poll(lambda: time.monotonic() - began > 1.0, 10, "a second")
    return procs.cpu_seconds(worker) - before < 0.3


def test_client_that_never_reads(daemon):
    """Memory stays flat, the engine pauses, and another client is served as before."""
    server = daemon(models={"fake": "fake:slots=4,context=1000000000"}, idle_timeout="1h")
    alone = timed_chats(server, 20)
    with stalled_stream(server):
        poll(lambda: generated_stands_still(server), 30, "a paused engine")
        worker = server.worker_pid()
        rss, worker_rss = server.rss(), procs.rss_bytes(worker)
        beside = timed_chats(server, 50)
        holds_for(lambda: server.rss() - rss < roomy(2e6), 2, "flat memory of the daemon")
        assert procs.rss_bytes(worker) - worker_rss < roomy(4e6)
        # Generous, for noise; a daemon that spins or blocks on the slow one is off by far more.
        assert beside[25] < 5 * alone[10] + scaled(0.05)
    server.wait_idle()


def test_client_that_never_reads_is_cut_in_the_end(daemon):
    server = daemon(models={"fake": "fake:slots=1,context=1000000000"}, idle_timeout=2)
    with stalled_stream(server):
        server.wait_metric("roundhouse_runs_cancelled_total", lambda value: value == 1, seconds=20)
    assert server.chat("hi").status == 200
    server.wait_idle()


def test_stalled_client_that_reads_on_misses_nothing(daemon):
    server = daemon(models={"fake": "fake:slots=1,context=1000000000"}, idle_timeout="1h")
    with stalled_stream(server) as stream:
        poll(lambda: generated_stands_still(server), 30, "a paused engine")
        text = ""
        while len(text) < 200_000:
            choice = stream.next_event().json()["choices"][0]
            text += choice["delta"].get("content") or ""
    wanted = (WORDS * (len(text) // len(WORDS) + 1))[: len(text)]
    assert text == wanted
    server.wait_idle()


def test_slow_reader_gets_all_of_it(daemon):
    """A reader that takes a few bytes at a time: the end of the answer arrives."""
    server = daemon(models={"fake": "fake:context=100000"})
    with http.Connection(server.address, receive_buffer=4096) as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("[[tokens=3000]]", stream=True))
        head = connection.read_head()
        body = b""
        for piece in connection.iter_body(head):
            body += piece
            if len(body) % 50 == 0:
                time.sleep(0.001)  # the slowness itself, not a wait for something
    assert body.endswith(b"data: [DONE]\n\n")
    text = b"".join(re.findall(rb'"content":"([^"]*)"', body)).decode()
    assert len(text.split()) == 3000


# --- dribbling ---


def test_slow_loris_header(daemon):
    server = daemon(idle_timeout=2)
    with server.connect() as connection:
        connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        began = time.monotonic()
        while not connection.is_closed_by_peer():
            assert time.monotonic() - began < scaled(60), "a header that never ends is held open for ever"
            assert server.get("/health").status == 200
            if time.monotonic() - began < 1.5:
                try:
                    connection.send(b"x: y\r\n")
                except ConnectionError:
                    break
    assert server.chat("hi").status == 200


def test_slow_loris_body(daemon):
    """A body that stops half-way: the connection is closed after the idle time, and others are served meanwhile."""
    server = daemon(idle_timeout=2)
    whole = render_request("POST", "/v1/chat/completions", chat_body("x" * 1000), None, server.address)
    loris = [server.connect() for _ in range(50)]
    for connection in loris:
        connection.send(whole[:-500])
    assert timed_chats(server, 20)[10] < scaled(0.5)
    for connection in loris:
        poll(lambda c=connection: closed(c), 20, "the end of a stalled upload")
        connection.close()
    server.wait_idle()


def closed(connection):
    """The peer has closed, perhaps after a last answer (408)."""
    connection.socket.setblocking(False)
    try:
        while True:
            if connection.socket.recv(4096) == b"":
                return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_idle_keep_alive_connections_are_closed(daemon):
    server = daemon(idle_timeout=1)
    with server.connect() as connection:
        connection.send_request("GET", "/health")
        assert connection.read_response().status == 200
        poll(connection.is_closed_by_peer, 15, "the end of an idle connection")


def test_a_long_first_wait_is_not_idleness(daemon):
    """The client is silent because it waits for us: the idle time must not cut it."""
    server = daemon(idle_timeout=1)
    assert server.chat("[[first_delay_ms=3000 tokens=1]]").status == 200
    with server.chat_stream("[[first_delay_ms=3000 tokens=1]]") as stream:
        assert list(stream)[-1].data == "[DONE]"


# --- flooding ---


def test_queue_full(daemon):
    server = daemon(models={"fake": "fake:slots=1"}, queue_max=1)
    with server.chat_stream(LONG) as running:
        running.next_text()
        with server.connect() as waiting:
            waiting.send_request("POST", "/v1/chat/completions", chat_body("[[text=waited]]"))
            server.wait_queued(1)
            for stream in (False, True):
                answer = server.chat("hi", stream=stream)
                assert answer.status == 429, answer
                assert int(answer.header("retry-after")) >= 1
                assert answer.header("x-should-retry") in (None, "true")
                assert answer.error()["type"] == "rate_limit_error"
            assert server.metric("roundhouse_rate_limited_count_total") == 2
            running.connection.close()
            answer = waiting.read_response()
            assert answer.json()["choices"][0]["message"]["content"] == "waited"


def test_queue_full_by_the_choices_of_one_request(daemon):
    """A request that can never fit is refused and leaves nothing behind."""
    server = daemon(models={"fake": "fake:slots=1"}, queue_max=2)
    answer = server.chat("[[tokens=2]]", n=16)
    assert answer.status in (400, 429), answer
    server.wait_idle()
    assert server.chat("hi").status == 200


def test_priority_goes_first(daemon):
    server = daemon(models={"fake": "fake:slots=1"})
    with server.chat_stream(LONG) as running:
        running.next_text()
        waiting = {}
        for priority in (0, -5, 10, 5):
            connection = server.connect()
            body = chat_body("[[tokens=3 delay_ms=50]]", priority=priority)
            connection.send_request("POST", "/v1/chat/completions", body)
            server.wait_queued(len(waiting) + 1)
            waiting[priority] = connection
    order = []

    def take_finished():
        for priority, connection in waiting.items():
            if priority in order:
                continue
            connection.socket.setblocking(False)
            try:
                if connection.socket.recv(1):
                    order.append(priority)
            except BlockingIOError:
                pass
        return len(order) == len(waiting)

    poll(take_finished, 20, "four answers")
    for connection in waiting.values():
        connection.close()
    assert order == [10, 5, 0, -5]


def test_two_hundred_at_once(daemon):
    server = daemon(models={"fake": "fake:slots=8"}, queue_max=512)
    connections = [server.connect() for _ in range(200)]
    for number, connection in enumerate(connections):
        body = chat_body(f"[[delay_ms=1 text=answer number {number}]]", stream=number % 2 == 0)
        connection.send_request("POST", "/v1/chat/completions", body)
    for number, connection in enumerate(connections):
        answer = connection.read_response()
        assert answer.status == 200, answer
        text = b"".join(re.findall(rb'"content":"([^"]*)"', answer.body)).decode()
        assert text == f"answer number {number}"
        connection.close()
    server.wait_idle()


def test_more_connections_than_allowed(daemon):
    """Those past the limit wait or are refused; after some left, new ones are served."""
    server = daemon(connections_max=20)
    held = [server.connect() for _ in range(40)]
    for connection in held:
        connection.close()
    poll(lambda: try_health(server), 10, "a served connection")


def try_health(server):
    try:
        return http.fetch(server.address, "GET", "/health", timeout=2).status == 200
    except (OSError, Closed):
        return False

# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGINT: what runs is finished, what is new is refused, and the end comes within the grace time."""

import signal
import time

import pytest

from harness.daemon import chat_body
from harness.http import Closed
from harness.wait import poll, scaled

LONG = "[[tokens=100000 delay_ms=10]]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_daemon_ends_at_once(daemon, number):
    server = daemon()
    server.chat("hi")
    began = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began < scaled(3)


def test_daemon_that_never_loaded_a_model_ends_at_once(daemon):
    server = daemon(preload=False)
    assert server.stop() == 0


def test_running_stream_is_finished(daemon):
    server = daemon(shutdown_grace=scaled(10))
    with server.chat_stream("[[tokens=60 delay_ms=20]]") as stream:
        stream.next_text()
        server.send_signal(signal.SIGTERM)
        poll(lambda: refuses(server), 5, "a refusal of new requests")
        events = list(stream)
    assert events[-1].data == "[DONE]"
    assert events[-2].json()["choices"][0]["finish_reason"] == "stop"
    words = "".join(event.json()["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert len(words.split()) >= 59
    assert server.wait_exit() == 0


def refuses(server):
    """New work is refused: 503 with a wish to come back, or no connection at all."""
    try:
        answer = server.chat("hi", wait=5)
    except (OSError, Closed):
        return True
    return answer.status == 503 and answer.header("retry-after") is not None


def test_kept_alive_connection_gets_a_503(daemon):
    """A connection that was open before may still ask, and is told."""
    server = daemon(shutdown_grace=scaled(10))
    with server.connect() as idle, server.chat_stream("[[tokens=100 delay_ms=20]]") as stream:
        idle.send_request("GET", "/health")
        assert idle.read_response().status == 200
        stream.next_text()
        server.send_signal(signal.SIGTERM)
        poll(lambda: server.log(message="shutting down") or refuses(server), 5, "the shutdown")
        try:
            idle.send_request("POST", "/v1/chat/completions", chat_body("hi"))
            answer = idle.read_response()
            assert answer.status == 503, answer
            assert (answer.header("connection") or "").lower() == "close"
        except (Closed, ConnectionError):
            pass  # closing idle connections at once is as good
        assert list(stream)[-1].data == "[DONE]"
    assert server.wait_exit() == 0


def test_waiting_requests_are_answered_or_refused(daemon):
    server = daemon(models={"fake": "fake:slots=1"}, shutdown_grace=scaled(10))
    with server.chat_stream("[[tokens=30 delay_ms=20]]") as running, server.connect() as waiting:
        running.next_text()
        waiting.send_request("POST", "/v1/chat/completions", chat_body("hi"))
        server.wait_queued(1)
        server.send_signal(signal.SIGTERM)
        assert list(running)[-1].data == "[DONE]"
        assert waiting.read_response().status in (200, 503)
    assert server.wait_exit() == 0


def test_stuck_stream_is_cut_after_the_grace_time(daemon):
    server = daemon(shutdown_grace=1)
    with server.chat_stream(LONG) as stream:
        stream.next_text()
        began = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - began
        assert 0.8 < took < scaled(6), took


def test_stuck_stream_of_a_client_that_never_reads(daemon):
    server = daemon(models={"fake": "fake:context=1000000000"}, shutdown_grace=1)
    body = chat_body("[[end=0]]", stream=True, max_tokens=500_000_000)
    with server.stream("/v1/chat/completions", body, receive_buffer=4096):
        server.wait_active()
        assert server.stop() == 0


def test_hung_engine_does_not_hold_the_shutdown(daemon):
    server = daemon(shutdown_grace=1)
    server.expect_errors("worker|hung|hang")
    with server.chat_stream("[[hang_at=2]]") as stream:
        stream.next_text()
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < scaled(8)


def test_shutdown_while_a_model_loads(daemon):
    server = daemon(models={"fake": "fake:load_delay_ms=60000"}, shutdown_grace=1)
    with server.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("hi"))
        poll(lambda: server.health()["requests_in_flight"] == 1, 10, "a request in flight")
        assert server.stop() == 0


def test_second_signal_ends_it_at_once(daemon):
    """Somebody who presses Ctrl-C twice means it."""
    server = daemon(shutdown_grace=scaled(60))
    with server.chat_stream(LONG) as stream:
        stream.next_text()
        server.send_signal(signal.SIGINT)
        poll(lambda: refuses(server), 5, "a refusal of new requests")
        server.bad_end_expected = True
        began = time.monotonic()
        server.stop(signal.SIGINT)
        assert time.monotonic() - began < scaled(10)


def test_daemon_killed_takes_its_workers_along(daemon):
    """SIGKILL leaves no chance to clean up: the workers must notice by themselves."""
    server = daemon()
    server.chat("hi")
    assert server.worker_pid()
    server.bad_end_expected = True
    server.stop(signal.SIGKILL)
    # The fixture fails the test when a process is left.


def test_daemon_killed_while_its_engine_computes(daemon):
    server = daemon()
    with server.chat_stream(LONG) as stream:
        stream.next_text()
        server.bad_end_expected = True
        server.stop(signal.SIGKILL)

# SPDX-License-Identifier: Apache-2.0
"""Workers die, hang and fail to load: clients get a clear answer, the daemon lives and replaces the worker."""

import os
import re
import signal
import time

import pytest

from harness import procs
from harness.daemon import chat_body
from harness.http import split_events
from harness.wait import poll, scaled

LONG = "[[tokens=100000 delay_ms=10]]"
HELLO = "This is the fake engine speaking; it repeats"

# How a lost worker stands in the log.
WORKER_LOST = "worker|model"

# Restart quickly: the pause between two starts is not what these tests are about.
QUICK = {"backoff_min": "20ms", "backoff_max": "200ms"}

STREAMS = {
    "chat": ("/v1/chat/completions", chat_body(LONG, stream=True)),
    "completions": ("/v1/completions", {"prompt": LONG, "max_tokens": 100000, "stream": True}),
    "generate": ("/generate", {"prompt": LONG, "max_tokens": 100000}),
}


def start(daemon, model="fake:slots=4", **settings):
    server = daemon(models={"fake": model}, **QUICK, **settings)
    server.expect_errors(WORKER_LOST)
    return server


def text_of(answer):
    assert answer.status == 200, answer
    return answer.json()["choices"][0]["message"]["content"]


# --- killed while it answers ---


@pytest.mark.parametrize("dialect", STREAMS)
def test_worker_killed_in_mid_stream(daemon, dialect):
    server = start(daemon)
    path, body = STREAMS[dialect]
    with server.stream(path, body) as stream:
        for _ in range(4):
            stream.next_text()
        worker = server.worker_pid()
        os.kill(worker, signal.SIGKILL)
        events = list(stream)
    errors = [event for event in events if "error" in (event.data or "")]
    assert len(errors) == 1, events[-3:]
    if dialect == "generate":
        assert errors[0].event == "error" and events[-1] is errors[0]
        assert stream.head.header("x-request-id") in errors[0].data
    else:
        assert set(errors[0].json()["error"]) >= {"message", "type", "param", "code"}
        assert events[-1] is errors[0] or (events[-1].data == "[DONE]" and events[-2] is errors[0])
    assert server.running()
    assert text_of(server.chat("hi")) == HELLO
    assert server.worker_pid() != worker
    assert server.metric("roundhouse_worker_restarts_total") >= 1


def test_worker_killed_while_several_streams_run(daemon):
    server = start(daemon)
    streams = [server.chat_stream(LONG) for _ in range(4)]
    for stream in streams:
        stream.next_text()
    os.kill(server.worker_pid(), signal.SIGKILL)
    for stream in streams:
        events = list(stream)
        assert sum("error" in event.data for event in events) == 1
        stream.connection.close()
    assert text_of(server.chat("hi")) == HELLO


def test_whole_answer_is_run_again_when_its_worker_is_killed(daemon):
    """Nothing was sent to this client yet, so a second worker may answer in full."""
    server = start(daemon)
    with server.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("[[tokens=6 delay_ms=150]]"))
        server.wait_active()
        os.kill(server.worker_pid(), signal.SIGKILL)
        answer = connection.read_response()
    assert text_of(answer) == "This is the fake engine speaking;"
    assert answer.json()["usage"]["completion_tokens"] <= 7


@pytest.mark.parametrize("stream", [False, True])
def test_killed_before_anything_was_sent_is_retried_once(daemon, stream):
    server = start(daemon)
    server.chat("warm up")
    worker = server.worker_pid()
    with server.connect() as connection:
        body = chat_body("[[first_delay_ms=1500 tokens=3]]", stream=stream)
        connection.send_request("POST", "/v1/chat/completions", body)
        server.wait_active()
        os.kill(worker, signal.SIGKILL)
        answer = connection.read_response()
    assert answer.status == 200, answer
    assert b"error" not in answer.body
    text = b"".join(re.findall(rb'"content":"([^"]*)"', answer.body)).decode()
    assert text == "This is the"
    assert server.worker_pid() != worker
    assert server.metric("roundhouse_request_retries_total") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_crash_once_is_not_seen_by_the_client(daemon, tmp_path, stream):
    server = start(daemon)
    answer = server.chat(f"[[crash_once={tmp_path}/crashed]]", stream=stream)
    assert answer.status == 200, answer
    assert (tmp_path / "crashed").exists()
    assert b"repeats" in answer.body and b"error" not in answer.body


@pytest.mark.parametrize("stream", [False, True])
def test_crash_twice_is_a_clear_503(daemon, stream):
    server = start(daemon)
    answer = server.chat("[[crash_at=0]]", stream=stream)
    if answer.status == 200:
        # The stream had begun (with the role alone), so the error came as an event.
        assert stream
        errors = [event for event in split_events([answer.body]) if "error" in event.data]
        assert len(errors) == 1
        error = errors[0].json()["error"]
    else:
        assert answer.status == 503, answer
        error = answer.error()
    assert re.search("worker|model", error["message"])
    assert server.metric("roundhouse_request_retries_total") == 1
    assert server.running()
    assert text_of(server.chat("hi")) == HELLO


def test_one_crashing_request_does_not_fail_those_that_wait(daemon):
    """The requests in the queue were not running: each is answered by the next worker."""
    server = start(daemon, "fake:slots=1")
    with server.chat_stream("[[tokens=1000 delay_ms=10]]") as stream:
        stream.next_text()
        waiting = [server.connect() for _ in range(5)]
        for number, connection in enumerate(waiting):
            connection.send_request("POST", "/v1/chat/completions", chat_body(f"[[text=answer {number}]]"))
        server.wait_queued(5)
        os.kill(server.worker_pid(), signal.SIGKILL)
        for number, connection in enumerate(waiting):
            assert text_of(connection.read_response()) == f"answer {number}"
            connection.close()


def test_worker_that_dies_while_idle_is_replaced(daemon):
    server = start(daemon)
    server.chat("hi")
    worker = server.worker_pid()
    os.kill(worker, signal.SIGKILL)
    poll(lambda: not procs.alive(worker), 5, "the worker's end")
    assert text_of(server.chat("hi")) == HELLO


def test_stopped_worker_is_noticed(daemon):
    """SIGSTOP: the process is there but answers no PING."""
    server = start(daemon, ping_interval="100ms", ping_timeout=scaled(1))
    with server.chat_stream(LONG) as stream:
        stream.next_text()
        worker = server.worker_pid()
        os.kill(worker, signal.SIGSTOP)
        events = list(stream)
    assert "error" in events[-1].data or "error" in events[-2].data
    poll(lambda: not procs.alive(worker), 10, "the stopped worker's end")
    assert text_of(server.chat("hi")) == HELLO


# --- hung ---


def test_hung_engine_is_cut_by_the_deadline_and_replaced(daemon):
    server = start(daemon, cancel_grace="200ms")
    server.chat("warm up")
    worker = server.worker_pid()
    answer = server.chat("[[hang_at=2]]", timeout=scaled(1))
    assert answer.status == 504, answer
    assert answer.error()["code"]
    poll(lambda: not procs.alive(worker), 10, "the hung worker's end")
    assert text_of(server.chat("hi", wait=30)) == HELLO
    assert server.worker_pid() != worker


def test_hung_engine_is_noticed_by_its_step(daemon):
    """Without a deadline in sight, a step that takes too long ends the worker."""
    server = start(daemon, step_timeout=scaled(1), ping_interval="200ms")
    server.chat("warm up")
    worker = server.worker_pid()
    with server.chat_stream("[[hang_at=2]]") as stream:
        events = list(stream)
    assert sum("error" in event.data for event in events) == 1
    poll(lambda: not procs.alive(worker), 10, "the hung worker's end")
    assert text_of(server.chat("hi")) == HELLO


# --- deadlines ---


def test_request_timeout_of_the_server(daemon):
    server = start(daemon, request_timeout=scaled(1))
    began = time.monotonic()
    answer = server.chat(LONG)
    assert answer.status == 504, answer
    assert time.monotonic() - began < scaled(5)
    server.wait_metric("roundhouse_runs_cancelled_total", lambda value: value == 1)
    server.wait_idle()


def test_timeout_field_of_the_request(daemon):
    server = start(daemon)
    server.chat("warm up")
    answer = server.chat(LONG, timeout=scaled(0.3))
    assert answer.status == 504, answer
    assert answer.header("x-should-retry") == "false"
    server.wait_idle()


def test_deadline_in_mid_stream(daemon):
    server = start(daemon)
    with server.chat_stream(LONG, timeout=scaled(0.5)) as stream:
        events = list(stream)
    assert stream.head.status == 200
    errors = [event for event in events if "error" in event.data]
    assert len(errors) == 1 and "deadline" in errors[0].data
    server.wait_idle()


def test_deadline_while_waiting_in_the_queue(daemon):
    server = start(daemon, "fake:slots=1")
    with server.chat_stream(LONG) as stream:
        stream.next_text()
        answer = server.chat("hi", timeout=scaled(0.3))
        assert answer.status == 504, answer
        stream.next_text()  # the running one is not touched
    server.wait_idle()


# --- loading ---


def test_load_failure_says_why(daemon):
    server = start(daemon, "fake:load_fail=1")
    answer = server.chat("hi")
    assert answer.status in (500, 503), answer
    assert "told to fail" in answer.error()["message"]
    assert answer.header("x-should-retry") == "false"
    again = server.chat("hi", stream=True)
    assert again.status == answer.status
    assert server.running() and server.get("/health").status in (200, 503)


def test_unknown_key_of_the_fake_engine_is_a_load_failure(daemon):
    answer = start(daemon, "fake:slotz=1").chat("hi")
    assert answer.status == 500
    assert "slotz" in answer.error()["message"]


def test_crash_while_loading(daemon):
    server = start(daemon, "fake:load_crash=1")
    answer = server.chat("hi", wait=60)
    assert answer.status in (500, 503), answer
    assert re.search("worker|load", answer.error()["message"])
    assert server.running()


def test_crash_while_loading_once(daemon, tmp_path):
    server = start(daemon, f"fake:load_crash_once={tmp_path}/crashed")
    assert text_of(server.chat("hi", wait=60)) == HELLO
    assert (tmp_path / "crashed").exists()


def test_load_that_hangs(daemon):
    server = start(daemon, "fake:load_hang=1", load_timeout=scaled(1))
    answer = server.chat("hi", wait=60)
    assert answer.status in (500, 503, 504), answer
    assert server.running()


def test_requests_wait_for_a_slow_load(daemon):
    server = start(daemon, "fake:load_delay_ms=500")
    connections = [server.connect() for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.send_request("POST", "/v1/chat/completions", chat_body(f"[[text=answer {number}]]"))
    for number, connection in enumerate(connections):
        assert text_of(connection.read_response()) == f"answer {number}"
        connection.close()


def test_one_model_that_fails_does_not_touch_another(daemon):
    server = daemon(models={"bad": "fake:load_fail=1", "good": "fake:"}, **QUICK)
    server.expect_errors(WORKER_LOST)
    assert server.chat("hi", model="bad").status == 500
    assert text_of(server.chat("hi", model="good")) == HELLO


def test_worker_executable_missing(daemon, tmp_path):
    server = start(daemon, worker=tmp_path / "no-such-worker")
    answer = server.chat("hi")
    assert answer.status in (500, 503), answer
    assert "no-such-worker" in answer.error()["message"]
    assert server.running()


@pytest.mark.parametrize("script", ["exit 0", "exec sleep 1000", "echo rubbish >&3; exec sleep 1000", "kill -9 $$"])
def test_worker_executable_is_something_else(daemon, tmp_path, script):
    """A program that ends at once, one that says nothing, one that says rubbish, one that dies."""
    program = tmp_path / "worker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    server = start(daemon, worker=program, start_timeout=scaled(1))
    answer = server.chat("hi", wait=60)
    assert answer.status in (500, 503), answer
    assert len(answer.error()["message"]) > 20
    assert server.running()

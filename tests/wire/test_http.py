# SPDX-License-Identifier: Apache-2.0
"""HTTP itself: methods, CORS, keep-alive, pipelining, chunked and huge bodies, request ids."""

import re

import pytest

from harness.daemon import chat_body
from harness.http import Closed, render_request
from harness.wait import poll

HELLO = "This is the fake engine speaking; it repeats"


@pytest.fixture(scope="module")
def server(module_daemon):
    return module_daemon(cors_origin="*")


def content(answer):
    return answer.json()["choices"][0]["message"]["content"]


# --- methods ---


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/metrics"])
def test_head_sends_headers_only(server, path):
    with server.connect() as connection:
        connection.send_request("HEAD", path)
        head = connection.read_response("HEAD")
        assert head.status == 200
        assert int(head.header("content-length")) > 0
        # Bytes of a body would be read as the next answer's status line.
        connection.send_request("GET", "/health")
        assert connection.read_response().status == 200


def test_options_answers_a_preflight(server):
    answer = server.fetch(
        "OPTIONS",
        "/v1/chat/completions",
        headers={
            "origin": "http://page.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type, authorization",
        },
    )
    assert answer.status in (200, 204)
    assert answer.header("access-control-allow-origin") == "*"
    assert "POST" in answer.header("access-control-allow-methods")
    allowed = answer.header("access-control-allow-headers").lower()
    assert allowed == "*" or ("content-type" in allowed and "authorization" in allowed)


def test_answers_carry_the_cors_header(server):
    origin = {"origin": "http://page.example"}
    for answer in (
        server.chat("hi", headers=origin),
        server.get("/v1/models", headers=origin),
        server.get("/nope", headers=origin),
        server.post("/v1/chat/completions", {}, headers=origin),
    ):
        assert answer.header("access-control-allow-origin") == "*", answer
    with server.stream("/v1/chat/completions", chat_body("hi", stream=True), headers=origin) as stream:
        assert stream.start().header("access-control-allow-origin") == "*"


def test_no_cors_when_it_is_switched_off(daemon):
    answer = daemon(cors_origin="").chat("hi", headers={"origin": "http://page.example"})
    assert answer.header("access-control-allow-origin") is None


def test_only_local_pages_may_call_by_default(daemon):
    server = daemon()
    for origin in ("http://localhost:3000", "http://127.0.0.1:8080"):
        answer = server.chat("hi", headers={"origin": origin})
        assert answer.status == 200, answer
        assert answer.header("access-control-allow-origin") == origin
    for origin in ("http://page.example", "http://localhost.evil.example", "http://evil-localhost:1", "null"):
        answer = server.chat("hi", headers={"origin": origin})
        assert answer.status == 403, (origin, answer)
        assert answer.header("access-control-allow-origin") is None


def test_pages_of_strangers_are_kept_out(daemon):
    """With one origin configured, another page gets 403 without any work done for it; programs without a page pass."""
    server = daemon(cors_origin="http://page.example")
    answer = server.chat("hi", headers={"origin": "http://evil.example"})
    assert answer.status == 403
    assert answer.header("access-control-allow-origin") in (None, "http://page.example")
    assert server.chat("hi").status == 200


def test_one_cors_origin(daemon):
    answer = daemon(cors_origin="http://page.example").chat("hi", headers={"origin": "http://page.example"})
    assert answer.header("access-control-allow-origin") == "http://page.example"


# --- connections ---


def test_keep_alive(server):
    with server.connect() as connection:
        for number in range(20):
            connection.send_request("POST", "/v1/chat/completions", chat_body(f"[[text=answer {number}]]"))
            assert content(connection.read_response()) == f"answer {number}"


def test_keep_alive_after_an_error(server):
    with server.connect() as connection:
        for body in ("nonsense", {}, {"messages": []}):
            connection.send_request("POST", "/v1/chat/completions", body)
            assert connection.read_response().status == 400
        connection.send_request("POST", "/nope", {"a": "b" * 1000})
        assert connection.read_response().status == 404
        connection.send_request("POST", "/v1/chat/completions", chat_body("hi"))
        assert content(connection.read_response()) == HELLO


def test_keep_alive_after_a_stream(server):
    with server.connect() as connection:
        for _ in range(3):
            connection.send_request("POST", "/v1/chat/completions", chat_body("hi", stream=True))
            body = connection.read_response().body
            assert body.endswith(b"data: [DONE]\n\n")


def test_connection_close_is_obeyed(server):
    with server.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("hi"), {"connection": "close"})
        assert content(connection.read_response()) == HELLO
        poll(connection.is_closed_by_peer, 5, "the peer's close")


def test_pipelined_requests_are_answered_in_order(server):
    with server.connect() as connection:
        wanted = [f"answer {number}" for number in range(8)]
        # The earlier ones take longer, so that an answer out of order would come first.
        requests = [
            render_request(
                "POST",
                "/v1/chat/completions",
                chat_body(f"[[first_delay_ms={40 - 5 * number} text={text}]]", stream=number % 2 == 1),
            )
            for number, text in enumerate(wanted)
        ]
        connection.send(b"".join(requests))
        for number, text in enumerate(wanted):
            answer = connection.read_response()
            assert answer.status == 200
            if number % 2 == 0:
                assert content(answer) == text
            else:
                pieces = re.findall(rb'"content":"([^"]*)"', answer.body)
                assert b"".join(pieces).decode() == text


def test_request_in_single_bytes(server):
    with server.connect() as connection:
        for byte in render_request("POST", "/v1/chat/completions", chat_body("hi")):
            connection.send(bytes([byte]))
        assert content(connection.read_response()) == HELLO


def test_chunked_request_body(server):
    body = b'{"messages":[{"role":"user","content":"[[text=chunked]]"}]}'
    with server.connect() as connection:
        for size in (1, 7, len(body)):
            connection.send(
                render_request("POST", "/v1/chat/completions", b"", {"transfer-encoding": "chunked"}, server.address)
            )
            for at in range(0, len(body), size):
                piece = body[at : at + size]
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")
            assert content(connection.read_response()) == "chunked"


def test_expect_100_continue(server):
    with server.connect() as connection:
        body = b'{"messages":[{"role":"user","content":"hi"}]}'
        head = render_request(
            "POST", "/v1/chat/completions", b"", {"content-length": str(len(body)), "expect": "100-continue"}
        )
        connection.send(head)
        assert connection.take_line() == b"HTTP/1.1 100 Continue"
        assert connection.take_line() == b""
        connection.send(body)
        assert content(connection.read_response()) == HELLO


def test_ten_megabyte_body(server):
    text = "word " * (10 * 1024 * 1024 // 5)
    body = chat_body(text + "[[text=long]]", max_tokens=4)
    answer = server.post("/v1/chat/completions", body, timeout=60)
    # Two million words do not fit in the context; the body itself was read, parsed and carried to the worker.
    assert answer.status == 400
    assert answer.error()["code"] == "context_length_exceeded"


def test_ten_megabyte_body_of_one_word(server):
    answer = server.chat("x" * (10 * 1024 * 1024), max_tokens=2, wait=60)
    assert answer.status == 200, answer
    assert answer.json()["usage"]["prompt_tokens"] == 1


def test_body_too_large(daemon):
    server = daemon(body_bytes_max="64KiB")
    answer = server.chat("x" * 70000)
    assert answer.status == 413
    assert "65536" in answer.error()["message"]
    assert server.chat("hi").status == 200


def test_announced_body_too_large_is_refused_before_it_is_sent(daemon):
    server = daemon(body_bytes_max="64KiB")
    with server.connect() as connection:
        connection.send(
            render_request("POST", "/v1/chat/completions", b"", {"content-length": str(10**12)}, server.address)
        )
        assert connection.read_response().status == 413


def test_chunked_body_too_large(daemon):
    server = daemon(body_bytes_max="64KiB")
    with server.connect() as connection:
        connection.send(
            render_request("POST", "/v1/chat/completions", b"", {"transfer-encoding": "chunked"}, server.address)
        )
        try:
            for _ in range(40):
                connection.send(b"1000\r\n" + b" " * 4096 + b"\r\n")
            connection.send(b"0\r\n\r\n")
        except ConnectionError:
            pass  # an early answer may come with a close
        assert connection.read_response().status == 413


def test_huge_header_is_refused(server):
    with server.connect() as connection:
        connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 200_000 + b"\r\n\r\n")
        try:
            assert connection.read_response().status in (400, 413, 431)
        except (Closed, ConnectionError):
            pass  # closing without a word is allowed here
    assert server.get("/health").status == 200


NOT_HTTP = {
    "empty lines": b"\r\n\r\n",
    "a word": b"nonsense\r\n\r\n",
    "a method alone": b"GET\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "zeros": b"\0" * 4096,
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_not_http(daemon, name):
    """Rubbish ends that connection, at once or when its time is over, and nothing else."""
    server = daemon(idle_timeout=1)
    with server.connect() as connection:
        connection.send(NOT_HTTP[name])
        connection.socket.shutdown(1)
        try:
            while connection.socket.recv(4096):
                pass
        except ConnectionError:
            pass
    assert server.get("/health").status == 200


# --- what every answer carries ---


def test_every_answer_has_its_own_request_id(server):
    seen = set()
    answers = [
        server.chat("hi"),
        server.chat("hi"),
        server.post("/v1/completions", {"prompt": "hi"}),
        server.post("/generate", {"prompt": "hi"}),
        server.get("/health"),
        server.get("/v1/models"),
        server.get("/metrics"),
        server.get("/"),
        server.get("/nope"),
        server.get("/v1/chat/completions"),
        server.post("/v1/chat/completions", "x"),
        server.post("/generate", "x", headers={"content-type": "text/plain"}),
        server.chat("hi", model="nope"),
        server.fetch("HEAD", "/health"),
        server.fetch("OPTIONS", "/v1/models"),
    ]
    for answer in answers:
        request_id = answer.header("x-request-id")
        assert request_id and re.search(r"[0-9a-f]{32}$", request_id), answer
        assert request_id not in seen
        seen.add(request_id)


def test_request_id_is_in_the_log_and_the_events(server):
    with server.stream("/generate", {"prompt": "hi"}) as stream:
        request_id = stream.start().header("x-request-id")
        assert all(request_id in (event.data or "") for event in stream)
    poll(lambda: any(request_id in str(line) for line in server.log()), 5, "the request id in the log")


def test_prompts_are_not_in_the_log(server):
    server.chat("a very secret word: xyzzy-plugh")
    server.post("/v1/completions", {"prompt": "xyzzy-plugh"})
    assert "xyzzy" not in server.log_text()


def test_stream_headers(server):
    with server.chat_stream("hi") as stream:
        head = stream.start()
        assert head.status == 200
        assert head.header("content-type").startswith("text/event-stream")
        assert head.header("cache-control") == "no-cache"
        assert head.header("x-accel-buffering") == "no"
        assert head.header("content-length") is None
        list(stream)


def test_accept_header_asks_for_a_stream_of_generate(server):
    answer = server.post("/generate", {"prompt": "hi"}, headers={"accept": "application/json"})
    assert answer.status == 200


def test_content_type_may_have_a_charset(server):
    answer = server.chat("hi", headers={"content-type": "application/json; charset=utf-8"})
    assert answer.status == 200


def test_query_strings_are_ignored(server):
    assert server.post("/v1/chat/completions?beta=true", chat_body("hi")).status == 200
    assert server.get("/health?x=1&y=%00").status in (200, 400)


def test_ipv6_listener(daemon):
    server = daemon(listen="[::1]:0")
    assert server.chat("hi").status == 200

# SPDX-License-Identifier: Apache-2.0
"""Limits on the wire: requests and tokens a minute of keys and of addresses, requests at once, priority; 429 in each
dialect. Buckets refill by the minute's share, so the numbers leave room for a machine that is slow."""

import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from harness.upstream import Reply
from harness.wait import poll, scaled

ANN, BOB, OPS = "ann-secret-0123456789", "bob-secret-0123456789", "ops-secret-0123456789"


def keys(**of_ann):
    return [{"name": "ann", "key": ANN, **of_ann}, {"name": "bob", "key": BOB}]


@pytest.fixture
def keyed(daemon):
    """A daemon with keys; the harness may look at its metrics."""

    def start(keys, **settings):
        ops = {"name": "ops", "key": OPS, "scopes": ["metrics"]}
        server = daemon(config={"keys": [*keys, ops], **settings.pop("config", {})}, **settings)
        server.key = OPS
        return server

    return start


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def said(server, words="hi", secret=None, headers=None, **fields):
    given = {**(bearer(secret) if secret else {}), **(headers or {})}
    return server.chat(words, headers=given, **{"max_tokens": 4, **fields})


def message(server, words="hi", secret=None, **fields):
    body = {"model": "fake", "max_tokens": 4, "messages": [{"role": "user", "content": words}], **fields}
    return server.post("/v1/messages", body, headers={"x-api-key": secret} if secret else None)


def from_address(server, source, headers=None):
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    with server.connect(source=source) as connection:
        connection.send_request("POST", "/v1/chat/completions", body, headers)
        return connection.read_response()


def number(answer, name):
    value = answer.header(name)
    assert value is not None, f"{name} is missing in {answer.headers}"
    return int(value.removesuffix("s"))


def refused(answer, below):
    """A refusal by a limit: 429, and a Retry-After that is a whole number of seconds, at most `below`."""
    assert answer.status == 429, answer
    assert 1 <= int(answer.header("retry-after")) <= below
    assert answer.header("x-should-retry") == "true"
    return answer


# --- requests a minute ---


def test_requests_of_a_key(keyed):
    server = keyed(keys(requests_per_minute=3))
    for left in (2, 1, 0):
        answer = said(server, secret=ANN)
        assert answer.status == 200
        assert number(answer, "x-ratelimit-limit-requests") == 3
        assert number(answer, "x-ratelimit-remaining-requests") == left
        assert number(answer, "x-ratelimit-reset-requests") in range((2 - left) * 20, (3 - left) * 20 + 1)
        assert answer.header("x-ratelimit-limit-tokens") is None
    answer = refused(said(server, secret=ANN), 20)
    assert number(answer, "x-ratelimit-remaining-requests") == 0
    error = answer.error()
    assert error["type"] == "rate_limit_error" and error["code"] == "rate_limit_exceeded"
    assert "3 requests a minute" in error["message"] and "this key" in error["message"]
    assert ANN not in answer.body.decode()
    # The same key in the other dialect, and as a stream: the same bucket.
    answer = refused(message(server, secret=ANN), 20)
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert number(answer, "anthropic-ratelimit-requests-remaining") == 0
    answer = refused(said(server, secret=ANN, stream=True), 20)
    assert answer.header("content-type").startswith("application/json")
    # Another key is not concerned.
    assert all(said(server, secret=BOB).status == 200 for _ in range(5))
    assert said(server, secret=BOB).header("x-ratelimit-limit-requests") is None
    assert server.metric("roundhouse_rate_limited_count_total") == 3


def test_anthropics_clients_are_told_in_their_words(keyed):
    server = keyed(keys(requests_per_minute=3))
    before = datetime.now(timezone.utc)
    answer = message(server, secret=ANN)
    assert answer.status == 200
    told = {part: answer.header(f"anthropic-ratelimit-requests-{part}") for part in ("limit", "remaining", "reset")}
    assert (told["limit"], told["remaining"]) == ("3", "2")
    reset = datetime.strptime(told["reset"], "%Y-%m-%dT%H:%M:%S%z")
    assert timedelta(seconds=18) <= reset - before <= timedelta(seconds=scaled(30))
    assert answer.header("x-ratelimit-limit-requests") is None
    assert answer.header("anthropic-ratelimit-tokens-limit") is None


def test_the_default_of_all_keys_and_what_a_key_says_of_itself(keyed):
    own = [*keys(requests_per_minute=-1), {"name": "cat", "key": "cat-secret-0123456789", "requests_per_minute": 1}]
    server = keyed(own, limit_requests=2)
    assert [said(server, secret=ANN).status for _ in range(4)] == [200] * 4
    assert [said(server, secret=BOB).status for _ in range(3)] == [200, 200, 429]
    assert [said(server, secret="cat-secret-0123456789").status for _ in range(2)] == [200, 429]


def test_it_refills(keyed):
    server = keyed(keys(requests_per_minute=60))
    answers = [said(server, secret=ANN) for _ in range(60)]
    assert {answer.status for answer in answers} == {200}
    poll(lambda: said(server, secret=ANN).status == 429, 10, "an empty bucket")
    poll(lambda: said(server, secret=ANN).status == 200, 3, "the next second's request")


def test_a_stream_carries_the_numbers(keyed):
    server = keyed(keys(requests_per_minute=10, tokens_per_minute=1000))
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 4}
    with server.stream("/v1/chat/completions", body, headers=bearer(ANN)) as stream:
        head = stream.start()
        assert head.status == 200
        assert number(head, "x-ratelimit-remaining-requests") == 9
        assert number(head, "x-ratelimit-limit-tokens") == 1000
        assert [event.data for event in stream][-1] == "[DONE]"


def test_errors_of_the_request_count_nothing_twice(keyed):
    server = keyed(keys(requests_per_minute=3))
    # What cannot be read takes nothing; what is read and cannot be served has been a request.
    assert server.post("/v1/chat/completions", b"{", headers=bearer(ANN)).status == 400
    assert said(server, secret="wrong-secret-0123456789").status == 401
    assert said(server, secret=ANN, model="nobody").status == 404
    assert number(said(server, secret=ANN), "x-ratelimit-remaining-requests") == 1


# --- tokens a minute ---


def test_tokens_are_settled(keyed):
    server = keyed(keys(tokens_per_minute=1000))
    # Each could be 900 tokens and is five: only because the estimate is put right can there be another one.
    for _ in range(4):
        answer = said(server, "[[tokens=4]]", secret=ANN, max_tokens=900)
        assert answer.status == 200, answer
        assert number(answer, "x-ratelimit-limit-tokens") == 1000
        assert number(answer, "x-ratelimit-remaining-tokens") <= 100
        server.wait_idle()
    usage = answer.json()["usage"]
    small = said(server, secret=ANN, max_tokens=10)
    left = number(small, "x-ratelimit-remaining-tokens")
    assert left >= 1000 - 5 * usage["total_tokens"] - 15
    server.wait_idle()


def test_tokens_are_held_while_it_runs(keyed):
    server = keyed(keys(tokens_per_minute=1000))
    body = {
        "messages": [{"role": "user", "content": "[[tokens=800 delay_ms=50]] long"}],
        "stream": True,
        "max_tokens": 900,
    }
    with server.stream("/v1/chat/completions", body, headers=bearer(ANN)) as stream:
        assert stream.start().status == 200
        stream.next_text()
        answer = refused(said(server, secret=ANN, max_tokens=900), 60)
        assert int(answer.header("retry-after")) >= 30
        assert "1000 tokens a minute" in answer.error()["message"]
        assert refused(message(server, secret=ANN, max_tokens=900), 60).json()["error"]["type"] == "rate_limit_error"
    server.wait_idle()
    # It left with a few tokens: the rest of its estimate is there again.
    assert said(server, secret=ANN, max_tokens=900).status == 200


def test_more_was_used_than_was_thought(keyed):
    server = keyed(keys(tokens_per_minute=300))
    # Without max_tokens the estimate is small; the 500 tokens are owed afterwards.
    body = {"messages": [{"role": "user", "content": "[[tokens=500]] long"}]}
    assert server.post("/v1/chat/completions", body, headers=bearer(ANN)).status == 200
    server.wait_idle()
    answer = refused(said(server, secret=ANN), 60)
    assert number(answer, "x-ratelimit-remaining-tokens") == 0
    assert int(answer.header("retry-after")) >= 20


def test_an_enormous_wish_gives_nothing_back_that_was_not_taken(keyed):
    server = keyed(keys(tokens_per_minute=1000))
    answer = said(server, "[[tokens=500]] long", secret=ANN, max_tokens=1_000_000_000)
    assert answer.status == 200 and answer.json()["usage"]["completion_tokens"] == 500
    server.wait_idle()
    began = time.monotonic()
    left = number(said(server, "hi", secret=ANN), "x-ratelimit-remaining-tokens")
    assert left <= 500 + (time.monotonic() - began + scaled(2)) * 1000 / 60


def test_a_request_larger_than_the_bucket_is_served_once(keyed):
    server = keyed(keys(tokens_per_minute=100))
    slow = {"messages": [{"role": "user", "content": "[[tokens=200 delay_ms=50]]"}], "stream": True, "max_tokens": 500}
    with server.stream("/v1/chat/completions", slow, headers=bearer(ANN)) as stream:
        assert stream.start().status == 200
        stream.next_text()
        refused(said(server, secret=ANN), 600)


# --- addresses ---


def test_requests_of_an_address(daemon):
    server = daemon(limit_ip_requests=2)
    assert [from_address(server, "127.0.0.2").status for _ in range(3)] == [200, 200, 429]
    assert "this address" in from_address(server, "127.0.0.2").error()["message"]
    assert from_address(server, "127.0.0.3").status == 200
    # Without trust_proxy the header is only somebody's word.
    forged = {"X-Forwarded-For": "10.0.0.1"}
    assert from_address(server, "127.0.0.2", forged).status == 429


def test_the_tighter_limit_speaks(keyed):
    server = keyed(keys(requests_per_minute=5), limit_ip_requests=2)
    answers = [said(server, secret=ANN) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [number(answer, "x-ratelimit-limit-requests") for answer in answers] == [2, 2, 2]
    # The refusal took nothing from the key: from elsewhere it has three left.
    assert [from_address(server, "127.0.0.9", bearer(ANN)).status for _ in range(2)] == [200, 200]
    assert [from_address(server, "127.0.0.8", bearer(ANN)).status for _ in range(2)] == [200, 429]


def test_behind_a_proxy(daemon):
    server = daemon(limit_ip_requests=2, trust_proxy=True)

    def forwarded(value):
        return said(server, headers={"X-Forwarded-For": value}).status

    assert [forwarded("10.0.0.1") for _ in range(3)] == [200, 200, 429]
    # What the client itself wrote before the proxy did changes nothing.
    assert forwarded("1.2.3.4, 10.0.0.1") == 429
    assert forwarded("10.0.0.1,10.0.0.2") == 200
    assert forwarded("2001:db8::1") == 200
    assert said(server).status == 200  # not by the proxy: the connection's own address


# Some proxies add a line of their own instead of adding to the client's.
def test_behind_a_proxy_that_adds_a_line(daemon):
    server = daemon(limit_ip_requests=2, trust_proxy=True)
    body = b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}'
    statuses = []
    for i in range(3):
        with server.connect() as connection:
            connection.send(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"X-Forwarded-For: 10.1.1.%d\r\nX-Forwarded-For: 10.0.0.7\r\nContent-Length: %d\r\n\r\n%s"
                % (i, len(body), body)
            )
            statuses.append(connection.read_response().status)
    assert statuses == [200, 200, 429]


# --- requests at once, and who comes first ---


def test_requests_at_once_of_a_key(keyed):
    server = keyed(keys(concurrency=2))
    slow = {"messages": [{"role": "user", "content": "[[tokens=500 delay_ms=50]]"}], "stream": True}
    one = server.stream("/v1/chat/completions", slow, headers=bearer(ANN))
    two = server.stream("/v1/chat/completions", slow, headers=bearer(ANN))
    with one, two:
        assert one.start().status == two.start().status == 200
        answer = refused(said(server, secret=ANN), 5)
        assert "2 requests" in answer.error()["message"]
        assert refused(message(server, secret=ANN), 5).json()["error"]["type"] == "rate_limit_error"
        assert said(server, secret=BOB).status == 200
        two.connection.close()
        poll(lambda: said(server, secret=ANN).status == 200, 10, "room after one has left")
        answer = said(server, "[[fail_at=0]]", secret=ANN)
        server.expect_errors("told to fail")
        assert answer.status >= 500
        assert said(server, secret=ANN).status == 200  # a failed one gives its place back
    server.wait_idle()
    # Refused ones took no place.
    one = server.stream("/v1/chat/completions", slow, headers=bearer(ANN))
    two = server.stream("/v1/chat/completions", slow, headers=bearer(ANN))
    with one, two:
        assert one.start().status == two.start().status == 200


def test_priority_of_a_key(keyed):
    classes = [{"name": "low", "key": ANN, "priority": -50}, {"name": "high", "key": BOB, "priority": 50}]
    server = keyed(classes, models={"fake": "fake:slots=1"})
    # Which came first, the daemon's log says: the clients hear of their answers at nearly the same moment.
    def ask(name, secret, **fields):
        assert said(server, "[[tokens=2]]", secret=secret, headers={"X-Request-Id": name}, **fields).status == 200

    slow = {"messages": [{"role": "user", "content": "[[tokens=5000 delay_ms=50]]"}], "stream": True}
    with server.stream("/v1/chat/completions", slow, headers=bearer(BOB)) as blocker:
        assert blocker.start().status == 200
        threads = []
        waiting = [("low", ANN, {}), ("low-asks-for-more", ANN, {"priority": 100}), ("high", BOB, {})]
        for count, (name, secret, fields) in enumerate(waiting, 1):
            threads.append(threading.Thread(target=ask, args=(name, secret), kwargs=fields))
            threads[-1].start()
            server.wait_queued(count)
    for thread in threads:
        thread.join(scaled(30))
    names = [name for name, _, _ in waiting]

    def order():
        return [line["request_id"] for line in server.log(message="request") if line["request_id"] in names]

    # A request is logged after its client has everything.
    poll(lambda: len(order()) == len(names), 5, "a line of log for each")
    assert order() == ["high", "low", "low-asks-for-more"]


# --- budgets ---


def test_a_budget_that_is_used_up(daemon, upstream):
    server = daemon(
        models={},
        config={
            "keys": keys(budget_usd=0.001),
            "providers": {"up": {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "m"}}},
            "prices": {"up/m": {"input": 100, "output": 100}},
        },
    )
    first = said(server, secret=ANN, model="up/m")
    assert first.status == 200 and float(first.header("x-roundhouse-cost-usd")) == pytest.approx(12 * 100 / 1e6)
    answer = said(server, secret=ANN, model="up/m")
    assert answer.status == 429
    assert answer.error()["type"] == "insufficient_quota"
    assert answer.header("x-should-retry") == "false"
    assert message(server, secret=ANN, model="up/m").json()["error"]["type"] == "billing_error"
    assert said(server, secret=BOB, model="up/m").status == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("point", ["headers", "middle"])
@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_early_pays(daemon, upstream, stream, point):
    """The provider has read the prompt and wants its money, though it could not say how much."""
    server = daemon(
        models={},
        config={
            "keys": keys(budget_usd=2, tokens_per_minute=100_000),
            "providers": {"up": {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "m"}}},
            "prices": {"up/m": {"input": 100, "output": 100}},
        },
    )
    upstream.then(Reply(stall=point))
    body = {"model": "up/m", "messages": [{"role": "user", "content": "long " * 40_000}], "stream": stream}
    with server.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", body, bearer(ANN))
        seen = upstream.wait(1)[0]
        if stream and point == "middle":
            connection.read_head()
        connection.abort()
    upstream.wait_left(seen)
    answer = poll_refusal(lambda: said(server, secret=ANN, model="up/m"))
    assert answer.error()["type"] == "insufficient_quota"


def poll_refusal(asked):
    answers = []
    poll(lambda: answers.append(asked()) or answers[-1].status == 429, 5, "a refusal")
    return answers[-1]


# --- names ---


def test_words_behind_a_provider_do_not_fill_the_gateway(daemon, upstream):
    """More names than are remembered: mere words make room, and what is served goes on being served."""
    upstream.choose = lambda seen: Reply(status=404) if seen.body["model"].startswith("word-") else None
    provider = {"type": "openai-compatible", "baseUrl": upstream.url, "maxRetries": 0, "models": {"default": "m"}}
    server = daemon(config={"providers": {"up": provider}})
    with server.connect() as connection:
        for i in range(4200):
            connection.send_request("POST", "/api/route/explain", {"prompt": "hi", "model": f"up/word-{i}"})
            assert connection.read_response().status == 200, i
    assert said(server, model="up/word-0").status == 404
    assert said(server, model="up/m").status == 200
    assert said(server, model="fake").status == 200

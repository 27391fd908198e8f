# SPDX-License-Identifier: Apache-2.0
"""Two daemons that share a real Redis: limits that hold exactly, answers that one made and the other gives; and a Redis
that is killed, stopped, full of rubbish, locked or not there, which costs no request."""

import itertools
import re
import statistics
import threading
import time

import pytest

from harness.redis_server import RedisServer, free_port
from harness.wait import SCALE, poll, scaled

ANN = "ann-secret-0123456789"
BEARER = {"Authorization": f"Bearer {ANN}"}


@pytest.fixture
def redis(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def pair(daemon, redis):
    """Two daemons with one Redis and one key of the configuration."""

    def start(cache="off", key=None, models=None, **settings):
        # A machine that is busy must not make Redis look slow, where that is not the question.
        settings.setdefault("redis_timeout", "1s")
        config = {"keys": [{"name": "ann", "key": ANN, "scopes": ["inference", "metrics"], **key}]} if key else None
        servers = [daemon(config=config, models=models, cache=cache, redis=redis.url, **settings) for _ in range(2)]
        for server in servers:
            server.key = ANN if key else None
            wait_connected(server)
        return servers

    return start


def wait_connected(server):
    poll(lambda: server.log(message="Redis is used"), 10, "the connection to Redis")


def said(server, words="hi", headers=None, **fields):
    return server.chat(words, headers=headers, **{"max_tokens": 4, **fields})


def at_once(count, work):
    """work(i) in `count` threads; all results."""
    results = [None] * count

    def run(i):
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(60))
    assert None not in results, "a client got no answer"
    return results


# --- limits ---


def test_requests_of_a_key_hold_over_both(pair):
    servers = pair(key={"requests_per_minute": 10}, models={"fake": "fake:slots=8"})
    began = time.monotonic()
    answers = at_once(40, lambda i: said(servers[i % 2], headers=BEARER))
    took = time.monotonic() - began
    allowed = sum(answer.status == 200 for answer in answers)
    assert {answer.status for answer in answers} == {200, 429}
    # Exactly ten, and what has refilled while they were asked: one every six seconds.
    assert 10 <= allowed <= 10 + int(took / 6) + (1 if took > 6 else 0)
    refused = [answer for answer in answers if answer.status == 429]
    assert all(1 <= int(answer.header("retry-after")) <= 6 for answer in refused)
    assert {answer.header("x-ratelimit-remaining-requests") for answer in refused} == {"0"}


def test_one_after_the_other(pair):
    servers = pair(key={"requests_per_minute": 5})
    left = [said(server, headers=BEARER).header("x-ratelimit-remaining-requests") for server in servers * 2]
    assert left == ["4", "3", "2", "1"]


def test_tokens_of_a_key_hold_over_both_and_are_settled(pair):
    one, two = pair(key={"tokens_per_minute": 1000})
    slow = {
        "messages": [{"role": "user", "content": "[[tokens=800 delay_ms=50]]"}],
        "stream": True,
        "max_tokens": 900,
    }
    with one.stream("/v1/chat/completions", slow, headers=BEARER) as stream:
        assert stream.start().status == 200
        stream.next_text()
        answer = said(two, headers=BEARER, max_tokens=900)
        assert answer.status == 429 and int(answer.header("retry-after")) > 20
    one.wait_idle()
    # What the first one did not use is there for the second.
    poll(lambda: said(two, headers=BEARER, max_tokens=900).status == 200, 10, "the settled rest")


def test_addresses_hold_over_both(pair):
    servers = pair(limit_ip_requests=4)
    statuses = [said(server).status for server in servers * 3]
    assert statuses == [200] * 4 + [429] * 2


def test_keys_of_one_state_folder(daemon, redis, tmp_path):
    """Keys made in the database are one key for both daemons of the folder."""
    settings = {"redis": redis.url, "redis_timeout": "1s", "state_dir": str(tmp_path / "state"), "limit_requests": 6}
    admin = {"keys": [{"name": "ops", "key": ANN, "scopes": ["admin"]}]}
    one, two = daemon(config=admin, **settings), daemon(config=admin, **settings)
    for server in (one, two):
        server.key = ANN
        wait_connected(server)
    made = one.post("/api/keys", {"name": "bob"}, headers=BEARER)
    assert made.status in (200, 201), made
    bob = {"Authorization": f"Bearer {find_secret(made.json())}"}
    poll(lambda: two.get("/v1/models", headers=bob).status == 200, 10, "the key at the other daemon")
    statuses = [said(server, headers=bob).status for server in [one, two] * 4]
    assert statuses == [200] * 6 + [429] * 2


def find_secret(value):
    """The one text in an answer that looks like a key's secret."""
    found = re.findall(r"rh-[A-Za-z0-9_-]{43}", str(value))
    assert found, f"no secret in {value}"
    return found[0]


# --- the cache ---


def cached(server, words, **fields):
    answer = said(server, words, temperature=0, **fields)
    assert answer.status == 200, answer
    return answer.header("x-roundhouse-cache")


def wait_kept(redis, count=1):
    poll(lambda: len(redis.command("KEYS", "roundhouse:cache:*")) >= count, 10, f"{count} answers in Redis")


def test_answers_are_shared(pair, redis):
    one, two = pair(cache="on")
    assert cached(one, "shared") == "miss"
    wait_kept(redis)
    first = said(one, "shared", temperature=0)
    other = said(two, "shared", temperature=0)
    assert other.header("x-roundhouse-cache") == "hit"
    assert other.json()["choices"] == first.json()["choices"]
    assert int(other.header("age")) >= 0
    # And as a stream, from what came over.
    body = {"messages": [{"role": "user", "content": "shared"}], "temperature": 0, "max_tokens": 4, "stream": True}
    with two.stream("/v1/chat/completions", body) as stream:
        assert stream.start().header("x-roundhouse-cache") == "hit"
        assert [event.data for event in stream][-1] == "[DONE]"
    # It ends there when its time is over.
    (name,) = redis.command("KEYS", "roundhouse:cache:*")
    assert 0 < redis.command("TTL", name) <= 3600


def test_what_must_stay_here_is_not_shared(pair, redis):
    one, two = pair(cache="on")
    assert cached(one, "private", local_only=True) == "miss"
    assert cached(one, "private", local_only=True) == "hit"
    assert cached(one, "open") == "miss"
    wait_kept(redis)
    assert len(redis.command("KEYS", "roundhouse:cache:*")) == 1
    assert cached(two, "private", local_only=True) == "miss"
    assert cached(two, "open") == "hit"


def test_damaged_values_are_misses(pair, redis):
    one, two = pair(cache="on")
    words = [f"damaged {i}" for i in range(7)]
    damages = [
        lambda value: b"",
        lambda value: b"rubbish",
        lambda value: value[: len(value) // 2],
        lambda value: value[:-1] + bytes([value[-1] ^ 1]),
        lambda value: value[:3] + b"\xff" + value[4:],
        lambda value: value + b"more",
        lambda value: value[:40] + b"\xff" * 40 + value[80:],
    ]
    for text, damage in zip(words, damages, strict=True):
        before = set(redis.command("KEYS", "roundhouse:cache:*"))
        assert cached(one, text) == "miss"
        wait_kept(redis, len(before) + 1)
        (name,) = set(redis.command("KEYS", "roundhouse:cache:*")) - before
        redis.command("SET", name, damage(redis.command("GET", name)))
        assert cached(two, text) == "miss"
        assert cached(two, text) == "hit"  # its own
    # A value of another type, and another answer under this name.
    assert cached(one, "wrong type") == "miss"
    wait_kept(redis, len(words) + 1)
    for name in redis.command("KEYS", "roundhouse:cache:*"):
        redis.command("DEL", name)
        redis.command("RPUSH", name, "a", "b")
    assert cached(two, "wrong type") == "miss"


def test_an_answer_under_another_name_is_a_miss(pair, redis):
    one, two = pair(cache="on")
    assert cached(one, "right") == "miss"
    wait_kept(redis)
    (right,) = redis.command("KEYS", "roundhouse:cache:*")
    assert cached(one, "wrong") == "miss"
    wait_kept(redis, 2)
    (wrong,) = set(redis.command("KEYS", "roundhouse:cache:*")) - {right}
    redis.command("SET", wrong, redis.command("GET", right))
    assert cached(two, "wrong") == "miss"


def test_limits_of_rubbish(pair, redis):
    """What stands in Redis under a limit's name and is no bucket costs nobody an answer."""
    one, two = pair(key={"requests_per_minute": 100})
    assert said(one, headers=BEARER).status == 200
    names = redis.command("KEYS", "roundhouse:limit:*")
    assert len(names) == 1
    for rubbish in (b"", b"x", b"9" * 400, b"nan nan nan nan"):
        redis.command("SET", names[0], rubbish)
        assert said(one, headers=BEARER).status == 200
    redis.command("DEL", names[0])
    redis.command("RPUSH", names[0], "a")
    assert said(two, headers=BEARER).status == 200


# --- Redis in trouble ---


class Load:
    """Clients that ask without pause, each on a connection of its own, until told to stop."""

    def __init__(self, servers, clients=6, same_every=3):
        self.servers, self.same_every = servers, same_every
        self.statuses, self.latencies, self.failures = [], [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        server = self.servers[client % len(self.servers)]
        try:
            with server.connect() as connection:
                for number in itertools.count():
                    if self.over.is_set():
                        return
                    self.ask(connection, client, number)
        except Exception as error:  # any end of a client before its time is what this is about
            self.failures.append(repr(error))

    def ask(self, connection, client, number):
        # Some questions come again, most are new: hits, misses and writes all meet the trouble.
        words = "again" if number % self.same_every == 0 else f"{client} {number}"
        body = {"messages": [{"role": "user", "content": words}], "temperature": 0, "max_tokens": 2}
        began = time.monotonic()
        connection.send_request("POST", "/v1/chat/completions", body, BEARER)
        status = connection.read_response().status
        self.latencies.append(time.monotonic() - began)
        self.statuses.append(status)

    def wait_more(self, count):
        target = len(self.statuses) + count
        poll(lambda: self.failures or len(self.statuses) >= target, 60, f"{count} more answers")

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(scaled(60))


@pytest.mark.alone
def test_redis_dies_under_load(pair, redis):
    limit = {"requests_per_minute": 1000000}
    servers = pair(cache="on", key=limit, models={"fake": "fake:slots=4"}, redis_timeout="5ms")
    load = Load(servers)
    load.wait_more(150)
    calm = len(load.latencies)
    redis.kill()
    load.wait_more(150)
    redis.start()
    load.wait_more(100)
    redis.pause()
    load.wait_more(150)
    redis.resume()
    load.wait_more(100)
    redis.pause()
    load.wait_more(50)
    redis.kill()
    load.wait_more(50)
    redis.start()
    load.wait_more(50)
    load.stop()
    assert load.failures == []
    assert set(load.statuses) == {200}
    assert len(load.statuses) >= 700
    trouble = sorted(load.latencies[calm:])
    assert trouble[int(len(trouble) * 0.95)] < 0.1 * SCALE, f"p95 of {trouble[int(len(trouble) * 0.95)]:.3f} s"
    added = statistics.median(trouble) - statistics.median(load.latencies[:calm])
    assert added < 0.03 * SCALE, f"{added * 1000:.1f} ms were added"
    # It counts and keeps again once it is back, without being told.
    for server in servers:
        poll(lambda server=server: shares_again(server, redis), 30, "answers in the new Redis")


shares = itertools.count()


def shares_again(server, redis):
    before = len(redis.command("KEYS", "roundhouse:cache:*"))
    assert said(server, f"shares again {next(shares)}", headers=BEARER, temperature=0).status == 200
    return len(redis.command("KEYS", "roundhouse:cache:*")) > before


def test_a_limit_goes_on_without_redis(pair, redis):
    """Each daemon goes on from where the shared bucket was."""
    one, two = pair(key={"requests_per_minute": 6})
    assert [said(server, headers=BEARER).status for server in (one, two, one, two)] == [200] * 4
    redis.kill()
    # Two are left as the last one saw it, three as the other did; and no more than that of each.
    statuses = [said(two, headers=BEARER).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    statuses = [said(one, headers=BEARER).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


def redis_lines(server):
    return [line for line in server.log() if "edis" in line["message"] and line["level"] in ("warn", "error")]


@pytest.mark.alone
@pytest.mark.parametrize("trouble", ["away", "password", "silent", "no-host"])
def test_started_without_it(daemon, tmp_path, trouble):
    url = f"redis://:hunter2-secret@127.0.0.1:{free_port()}"
    config = {"keys": [{"name": "ann", "key": ANN, "requests_per_minute": 50}]}
    with RedisServer(tmp_path, password="another-secret") as redis:
        if trouble == "password":
            url = f"redis://:hunter2-secret@127.0.0.1:{redis.port}"
        if trouble == "silent":
            url = f"redis://127.0.0.1:{redis.port}"
            redis.pause()
        if trouble == "no-host":
            url = "redis://:hunter2-secret@nowhere.invalid:6379"
        server = daemon(config=config, cache="on", redis=url)
        took = []
        for i in range(20):
            began = time.monotonic()
            answer = said(server, f"{i}", headers=BEARER, temperature=0)
            took.append(time.monotonic() - began)
            assert answer.status == 200, answer
            assert answer.header("x-ratelimit-limit-requests") == "50"
        assert statistics.median(took) < 0.1 * SCALE
        assert said(server, "3", headers=BEARER, temperature=0).header("x-roundhouse-cache") == "hit"
        poll(lambda: redis_lines(server), 10, "a line about Redis in the log")
        # Attempts go on in the background and are not worth a line each.
        time_to_try = time.monotonic() + 1
        poll(lambda: time.monotonic() > time_to_try, 5, "some attempts")
        assert len(redis_lines(server)) == 1, redis_lines(server)
        assert "hunter2" not in server.log_text()
        if trouble == "silent":
            redis.resume()


def test_a_url_that_is_none(daemon):
    for url in ("redis://:hunter2-secret@127.0.0.1:port", "rediss://:hunter2-secret@127.0.0.1", "http://127.0.0.1"):
        server = daemon(redis=url, wait=False)
        server.bad_end_expected = True
        server.expect_errors("edis")
        assert server.wait_exit() != 0
        assert "edis" in server.log_text()
        assert "hunter2" not in server.log_text()

# SPDX-License-Identifier: Apache-2.0
"""What must stay on this machine does, whatever is configured: the daemon's system calls are watched while such requests fail,
fall back, are cached, take part in experiments, and name remote models."""

import json
import re
import shutil
import threading

import pytest

import harness.daemon
from harness.redis_server import RedisServer
from harness.upstream import Reply, Upstream
from harness.wait import poll

# A connection, or a datagram to somebody.
OUT = re.compile(r"(?:connect|sendto|sendmsg)\(.*sa_family=AF_INET6?, sin6?_port=htons\((\d+)\)")

WAYS = {
    "localOnly": ({"localOnly": True}, {}),
    "local_only": ({"local_only": True}, {}),
    "privacy": ({"privacy": "high"}, {}),
    "header": ({}, {"x-roundhouse-local-only": "true"}),
    "privacy header": ({}, {"x-roundhouse-privacy": "HIGH"}),
    "metadata": ({"metadata": {"local_only": "true"}}, {}),
}


class Watched:
    """A daemon and the ports it has sent anything to."""

    def __init__(self, server, trace):
        self.server, self.trace = server, trace

    def ports(self):
        return {int(port) for port in OUT.findall(self.trace.read_text())}

    def ask(self, text="hi", way="localOnly", **fields):
        more, headers = WAYS[way]
        return self.server.chat(text, headers=headers, **{**fields, **more})


@pytest.fixture
def watched(daemon, tmp_path, monkeypatch):
    """The same as `daemon`, under strace, which is its child's child: signals and exit codes are the daemon's own."""
    assert shutil.which("strace"), "strace is not installed: install the package 'strace'"
    real, started = harness.daemon.ROUNDHOUSE, []

    def start(**options):
        trace = tmp_path / f"trace{len(started)}"
        script = tmp_path / f"traced{len(started)}"
        script.write_text(f'#!/bin/sh\nexec strace -D -f -qq -e trace=connect,sendto,sendmsg -o {trace} {real} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setattr(harness.daemon, "ROUNDHOUSE", script)
        # The leak checker cannot work while strace looks on; other tests run the same code with it.
        server = daemon(environment={"ASAN_OPTIONS": "detect_leaks=0"}, **options)
        monkeypatch.setattr(harness.daemon, "ROUNDHOUSE", real)
        started.append(server)
        return Watched(server, trace)

    return start


def remote(upstream, **more):
    models = {"default": "m", "embed": "vectors"}
    entry = {"type": "openai-compatible", "baseUrl": upstream.url, "local": False, "maxRetries": 0, "models": models}
    return {**entry, **more}


def eager(upstream, fallback_named=False, **more):
    """A configuration that would send everything away, if it might."""
    return {
        "providers": {"up": remote(upstream)},
        "defaultProvider": "up",
        "fallbackChain": ["up"],
        "routing": {
            "fallback_named": fallback_named,
            "fallbacks": {"own": ["up/m"]},
            "rules": [
                {"condition": {"agentType": "leak"}, "action": {"provider": "up", "fallback": ["up/other"]}},
                {"condition": {"privacy": "high"}, "action": {"provider": "up", "model": "m"}},
                {"condition": {"localOnly": True}, "action": {"provider": "up"}},
            ],
            "groups": {
                "both": {"strategy": "round-robin", "members": ["up/m", "local/own"], "fallback": ["up"]},
                "away": {"members": ["up/m", "up/other"]},
                "unsure": {"confidence_min": 0.9, "members": ["local/own", "up/m"]},
            },
        },
        **more,
    }


def here(answer):
    assert answer.status == 200, answer
    assert answer.header("x-roundhouse-provider") == "local", answer.headers


def refused(answer, *statuses):
    assert answer.status in statuses, answer
    assert answer.error()["message"]


def test_the_proof_can_fail(watched, upstream):
    one = watched(models={"own": "fake:"}, config=eager(upstream))
    assert one.server.chat("hi").header("x-roundhouse-provider") == "up"
    poll(lambda: one.ports(), 5, "a connection in the trace")
    assert one.ports() == {int(upstream.origin.rpartition(":")[2])} and upstream.connections == 1


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_configured(watched, upstream, way, tmp_path):
    one = watched(models={"own": "fake:slots=1"}, config=eager(upstream), queue_max=1, breaker_failures=100)
    server = one.server
    for model in (None, "auto", "own", "both", "both", "unsure", "local/own"):
        here(one.ask(way=way, model=model))
    here(one.ask(way=way, agent_type="leak"))
    here(one.ask("[[confidence=0.1]]", way=way, model="unsure"))
    # Named, listed, of a group that has nobody here: refused, with the reason.
    for model in ("up/m", "m", "up/default", "up/unheard-of", "away"):
        answer = one.ask(way=way, model=model)
        refused(answer, 403)
        assert "machine" in answer.error()["message"], answer
    # What fails here fails.
    refused(one.ask("[[fail_at=0]]", way=way), 500)
    refused(one.ask("[[crash_at=1]]", way=way, model="own"), 500, 502, 503)
    poll(lambda: one.ask(way=way, model="own").status == 200, 20, "the worker is back")
    # A full queue.
    more, headers = WAYS[way]
    streams = [server.chat_stream("[[tokens=100000 delay_ms=20]]", model="own") for _ in range(2)]
    server.wait_active(1)
    server.wait_queued(1)
    refused(server.chat("hi", headers=headers, **more), 429, 503)
    for stream in streams:
        stream.__exit__()
    server.wait_idle()
    # A stream, and another dialect.
    with server.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True, **more},
                       headers=headers) as stream:  # fmt: skip
        assert stream.all_events()
    body = {"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **more}
    assert server.post("/v1/messages", body, headers=headers).status == 200
    refused(server.post("/v1/embeddings", {"model": "up/vectors", "input": "hi", **more}, headers=headers), 403)
    assert upstream.connections == 0 and not upstream.requests
    assert not one.ports()


def test_key_that_must_stay(watched, upstream):
    keys = [{"name": "quiet", "key": "rh-quiet-0123456789abcdef", "local_only": True},
            {"name": "ops", "key": "rh-ops-0123456789abcdef", "scopes": ["admin", "metrics"]}]  # fmt: skip
    one = watched(models={"own": "fake:"}, config=eager(upstream, keys=keys))
    one.server.key = keys[1]["key"]
    bearer = {"Authorization": f"Bearer {keys[0]['key']}"}
    for model in (None, "auto", "own", "both", "unsure"):
        here(one.server.chat("hi", model=model, headers=bearer))
    # What the request says cannot loosen it.
    here(one.server.chat("hi", headers={**bearer, "x-roundhouse-local-only": "false"}, local_only=False, privacy="low"))
    refused(one.server.chat("hi", model="up/m", headers=bearer), 403)
    refused(one.server.chat("[[fail_at=0]]", headers=bearer), 500)
    assert upstream.connections == 0 and not one.ports()


def test_named_models_with_fallbacks(watched, upstream):
    """Where others may follow a model that was named, somebody here does."""
    one = watched(models={"own": "fake:"}, config=eager(upstream, fallback_named=True))
    for model in ("up/m", "m", "own"):
        here(one.ask(model=model))
    refused(one.ask("[[fail_at=0]]", model="own"), 500)
    assert upstream.connections == 0 and not one.ports()


def test_the_stricter_word_counts(watched, upstream):
    one = watched(models={"own": "fake:"}, config=eager(upstream))
    here(one.server.chat("hi", headers={"x-roundhouse-local-only": "false"}, local_only=True))
    here(one.server.chat("hi", headers={"x-roundhouse-local-only": "true"}, local_only=False))
    here(one.server.chat("hi", headers={"x-roundhouse-privacy": "low"}, privacy="high"))
    here(one.server.chat("hi", privacy="low", localOnly=True))
    here(one.server.chat("hi", local_only=False, localOnly=True))
    for headers, fields in (
        ({"x-roundhouse-local-only": "ture"}, {}),
        ({"x-roundhouse-privacy": "hihg"}, {}),
        ({}, {"privacy": "hihg"}),
        ({}, {"localOnly": "yes please"}),
    ):
        refused(one.server.chat("hi", headers=headers, **fields), 400)
    assert upstream.connections == 0 and not one.ports()


def test_local_models_that_cannot_load(watched, upstream):
    one = watched(models={"own": "fake:load_fail=1"}, config=eager(upstream), preload=False)
    one.server.expect_errors("load")
    refused(one.ask(), 500, 502, 503, 507)
    refused(one.ask(model="own"), 500, 502, 503, 507)
    assert upstream.connections == 0 and not one.ports()


def test_no_model_here_at_all(watched, upstream):
    one = watched(models={}, config=eager(upstream))
    refused(one.ask(), 403)
    refused(one.ask(model="auto"), 403)
    assert upstream.connections == 0 and not one.ports()


def test_cache_that_is_shared(watched, upstream, tmp_path):
    with RedisServer(tmp_path) as redis:
        one = watched(models={"own": "fake:"}, config=eager(upstream, cache="on", cache_scope="all", redis=redis.url))

        def shared():
            """Redis has a few milliseconds, which strace may take: asked until an answer is there."""
            headers = {"Cache-Control": "no-cache"}
            answer = one.server.chat("warm", temperature=0, headers=headers)
            assert answer.header("x-roundhouse-provider") == "up"
            return redis.command("KEYS", "*cache:*")

        poll(shared, 10, "a shared answer in Redis")
        before = set(redis.command("KEYS", "*"))
        redis.command("CONFIG", "RESETSTAT")
        for _ in range(3):
            here(one.ask("secret words", temperature=0))
        assert one.ask("secret words", temperature=0).header("x-roundhouse-cache") == "hit"
        # What others asked is not shared with it, nor the other way.
        answer = one.ask("warm", temperature=0)
        here(answer)
        assert answer.header("x-roundhouse-cache") == "miss"
        commands = redis.command("INFO", "commandstats").decode()
        assert not re.search(r"cmdstat_(get|mget|set|setex|psetex|eval|evalsha):", commands), commands
        assert set(redis.command("KEYS", "*")) == before
        seen = len(upstream.requests)
        assert one.server.chat("secret words", temperature=0).header("x-roundhouse-cache") == "miss"
        assert len(upstream.requests) == seen + 1
        assert one.ports() <= {redis.port, int(upstream.origin.rpartition(":")[2])}


def test_experiments(watched, upstream):
    experiments = [
        {"name": "ab", "model": "ab", "sticky": "none",
         "arms": [{"name": "near", "model": "own"}, {"name": "far", "model": "up/m", "weight": 9}]},
        {"name": "dark", "model": "dark", "kind": "shadow", "sticky": "none",
         "arms": [{"name": "near", "model": "own"}, {"name": "far", "model": "up/m"}]},
        {"name": "all", "model": "*", "sticky": "none",
         "arms": [{"name": "far", "model": "up/m"}, {"name": "farther", "model": "up/other"}]},
    ]  # fmt: skip
    config = eager(upstream, experiments=experiments, aliases={"ab": "own", "dark": "own"})
    one = watched(models={"own": "fake:"}, config=config)
    for _ in range(20):
        for model in ("ab", "dark", None, "own"):
            here(one.ask(model=model))
    one.server.wait_idle()
    assert upstream.connections == 0 and not one.ports()
    # They do take part when they may.
    one.server.chat("hi", model="dark")
    upstream.wait(1)


def test_semantic_cache_elsewhere(watched, upstream):
    config = eager(upstream, cache="on", semantic_cache="up/vectors")
    one = watched(models={"own": "fake:"}, config=config)
    for text in ("What is the time?", "What time is it?"):
        here(one.ask(text, temperature=0))
    assert upstream.connections == 0 and not one.ports()
    one.server.chat("What is the time?", temperature=0)
    assert "embeddings" in [seen.protocol for seen in upstream.wait(2)]


def test_a_server_on_this_machine_is_told(watched, daemon):
    """Another roundhouse on loopback may be asked, but must not send it on."""
    with Upstream() as upstream:
        upstream.answer = Reply("from far away")
        next_door = watched(models={"own": "fake:"}, config=eager(upstream))
        entry = {"type": "roundhouse", "baseUrl": f"{next_door.server.url}/v1", "models": {"default": "auto"}}
        near = daemon(models={}, config={"providers": {"door": entry}, "defaultProvider": "door"})
        assert near.chat("hi").json()["choices"][0]["message"]["content"] == "from far away"
        before = len(upstream.requests)
        answer = near.chat("hi", local_only=True)
        assert answer.status == 200 and "fake engine" in answer.json()["choices"][0]["message"]["content"]
        # Not with a refusal of that server either.
        refused(near.chat("hi", model="door/up/m", privacy="high"), 403, 502)
        assert len(upstream.requests) == before


def test_many_at_once(watched, upstream):
    """Private and other requests side by side: none takes the other's way."""
    one = watched(models={"own": "fake:slots=4"}, config=eager(upstream))
    answers = []

    def work(number):
        for turn in range(10):
            private = (number + turn) % 2 == 0
            answer = one.ask(f"private {number}") if private else one.server.chat(f"public {number}")
            answers.append((private, answer.status, answer.header("x-roundhouse-provider")))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {(True, 200, "local"), (False, 200, "up")}
    assert all("private" not in json.dumps(seen.body) for seen in upstream.requests)

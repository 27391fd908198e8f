# SPDX-License-Identifier: Apache-2.0
"""Experiments of the configuration, and the decision log: who gets which arm, what is counted, what is stopped, what
shadows see, what a restart keeps; which fields a decision's line has and what never stands in it."""

import collections
import json
import threading
import time

import pytest

from harness.upstream import Reply
from harness.wait import poll, scaled

ANN = "ann-secret-0123456789"
TWO_ARMS = [{"name": "old", "model": "one"}, {"name": "new", "model": "two"}]
MODELS = {"one": "fake:slots=4", "two": "fake:slots=4"}


def experiment(**fields):
    return {"name": "trial", "model": "one", "arms": TWO_ARMS, **fields}


def ask(server, words="hi", session=None, headers=None, **fields):
    given = {**({"x-roundhouse-session": session} if session else {}), **(headers or {})}
    return server.chat(words, headers=given, **{"model": "one", "max_tokens": 4, **fields})


def arm_of(answer):
    assert answer.status == 200, answer
    return answer.json()["roundhouse"]["arm"]


def report(server, name="trial"):
    answer = server.get(f"/api/experiments/{name}")
    assert answer.status == 200, answer
    return answer.json()


def arms(server, name="trial"):
    return {arm["name"]: arm for arm in report(server, name)["arms"]}


def provider(upstream, **fields):
    return {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "m"}, "maxRetries": 0, **fields}


# --- who gets what ---


def test_split_and_sticky_by_session(daemon):
    server = daemon(models=MODELS, config={"experiments": [experiment(sticky="session")]})
    got = {}
    for i in range(60):
        answer = ask(server, session=f"s{i}")
        got[i] = arm_of(answer)
        model = {"old": "one", "new": "two"}[got[i]]
        assert answer.header("x-roundhouse-model") == model and answer.json()["model"] == model
        assert answer.header("x-roundhouse-route") == f"experiment trial, arm {got[i]}"
        assert answer.json()["roundhouse"]["experiment"] == "trial"
    shares = collections.Counter(got.values())
    assert 12 <= shares["old"] <= 48 and sum(shares.values()) == 60
    assert all(arm_of(ask(server, session=f"s{i}")) == got[i] for i in range(60))
    # The same in another daemon.
    other = daemon(models=MODELS, config={"experiments": [experiment(sticky="session")]})
    assert all(arm_of(ask(other, session=f"s{i}")) == got[i] for i in range(0, 60, 7))
    counted = arms(server)
    assert counted["old"]["requests"] == 2 * shares["old"] and counted["new"]["requests"] == 2 * shares["new"]
    assert counted["old"]["latency_ms"]["count"] == 2 * shares["old"]
    assert counted["new"]["tokens"]["sum"] == 4 * 2 * shares["new"]
    assert counted["new"]["errors"] == 0


def test_sticky_by_key(daemon):
    secrets = [f"key-number-{i:02}-secret" for i in range(16)]
    keys = [{"name": f"k{i}", "key": secret} for i, secret in enumerate(secrets)]
    server = daemon(models=MODELS, config={"experiments": [experiment()], "keys": keys})
    got = []
    for secret in secrets:
        headers = {"Authorization": f"Bearer {secret}"}
        seen = {arm_of(ask(server, headers=headers, session=f"s{i}")) for i in range(4)}
        assert len(seen) == 1
        got += seen
    assert set(got) == {"old", "new"}


def test_weights_and_other_models(daemon):
    weighted = [{**TWO_ARMS[0], "weight": 99}, {**TWO_ARMS[1], "weight": 1}]
    server = daemon(models=MODELS, config={"experiments": [experiment(arms=weighted, sticky="none")]})
    got = collections.Counter(arm_of(ask(server)) for _ in range(60))
    assert got["old"] >= 50
    # Who asks for something else takes no part.
    answer = ask(server, model="two")
    assert "experiment" not in answer.json()["roundhouse"]
    assert sum(arm["requests"] for arm in arms(server).values()) == 60


def test_streams_say_their_arm(daemon):
    server = daemon(models=MODELS, config={"experiments": [experiment()]})
    with server.chat_stream("hi", model="one", max_tokens=4) as stream:
        head = stream.start()
        last = [event.json() for event in stream if event.data != "[DONE]"][-1]
    arm = last["roundhouse"]["arm"]
    assert last["roundhouse"]["experiment"] == "trial"
    assert head.header("x-roundhouse-route") == f"experiment trial, arm {arm}"


def test_arms_are_measured_not_cached(daemon):
    server = daemon(models=MODELS, config={"experiments": [experiment()]}, cache="on")
    for _ in range(3):
        assert ask(server, "same", temperature=0, session="s").header("x-roundhouse-cache") == "off"
    assert sum(arm["requests"] for arm in arms(server).values()) == 3


# --- the guardrail ---


def test_a_failing_arm_is_stopped_and_the_control_gets_its_share(daemon):
    server = daemon(
        models={"one": "fake:slots=4", "two": "fake:slots=4,fail_at=0"},
        config={"experiments": [experiment(sticky="none", guardrail={"minimum": 10})]},
        breaker_failures=0,
        retry_budget=10,
    )
    server.expect_errors("told to fail")
    statuses = []

    def stopped():
        statuses.append(ask(server).status)
        return arms(server)["new"]["state"] == "stopped"

    poll(stopped, 60, "the arm's end")
    assert len(statuses) < 200
    assert set(statuses) == {200}  # the control answered in the arm's place
    arm = arms(server)["new"]
    assert arm["requests"] == arm["errors"] >= 10
    assert "100.0 %" in arm["why"] and "new" in arm["why"]
    lines = server.log(message="an experiment's arm was stopped")
    assert len(lines) == 1 and lines[0]["arm"] == "new" and lines[0]["why"] == arm["why"]
    # From now on all go to the control, none fails.
    assert {arm_of(ask(server)) for _ in range(30)} == {"old"}
    assert arms(server)["new"]["requests"] == arm["requests"]
    assert arms(server)["old"]["state"] == "running"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_control_answers_where_an_arm_cannot(daemon, upstream, stream):
    upstream.answer = Reply(status=500)
    only_new = [{**TWO_ARMS[0], "weight": 1e-6}, {"name": "new", "model": "up/m"}]
    server = daemon(
        models={"one": "fake:slots=4"},
        config={
            "providers": {"up": provider(upstream)},
            "experiments": [experiment(sticky="none", arms=only_new)],
        },
    )
    body = {"model": "one", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": stream}
    with server.stream("/v1/chat/completions", body) as answer:
        head = answer.start()
        assert head.status == 200
        told = [event.json() for event in answer if event.data != "[DONE]"][-1] if stream else head.json()
    assert told["roundhouse"]["provider"] == "local" and told["roundhouse"]["arm"] == "new"
    assert head.header("x-roundhouse-model") == "one"
    poll(lambda: arms(server)["new"]["errors"] == 1, 10, "the arm's failure")
    assert arms(server)["old"]["requests"] == 0
    assert len(upstream.requests) == 1


# --- shadows ---


def shadowed(upstream, **fields):
    return {
        "models": {"one": "fake:slots=4"},
        "config": {
            # On loopback, but not this machine: as a provider elsewhere would be.
            "providers": {"up": provider(upstream, local=False)},
            "prices": {"up/m": {"input": 100, "output": 200}},
            "experiments": [experiment(kind="shadow", arms=[TWO_ARMS[0], {"name": "copy", "model": "up/m"}])],
        },
        **fields,
    }


def test_shadows_get_copies_and_nobody_waits(daemon, upstream):
    server = daemon(**shadowed(upstream))
    upstream.answer = Reply("Nobody reads this.", stall="headers")
    began = time.monotonic()
    for i in range(5):
        answer = ask(server, f"hello {i}")
        assert arm_of(answer) == "old"
        assert answer.header("x-roundhouse-provider") == "local"
        assert "Nobody" not in answer.body.decode()
        assert float(answer.header("x-roundhouse-cost-usd")) == 0
    with server.chat_stream("hello 5", model="one", max_tokens=4) as stream:
        assert "Nobody" not in "".join(event.data for event in stream)
    # All were answered while the copies stood still.
    copies = upstream.wait(6)
    assert time.monotonic() - began < scaled(10) and not any(copy.done for copy in copies)
    said = sorted(copy.body["messages"][-1]["content"] for copy in copies)
    assert said == [f"hello {i}" for i in range(6)]
    assert arms(server)["copy"]["requests"] == 0
    poll(lambda: upstream.release() or arms(server)["copy"]["requests"] == 6, 20, "the copies' end")
    counted = arms(server)
    assert counted["old"]["requests"] == 6
    assert counted["copy"]["cost_usd"]["sum"] == pytest.approx(6 * (7 * 100 + 5 * 200) / 1e6)
    assert counted["copy"]["role"] == "shadow"
    sums = poll(lambda: usage(server, shadows=6), 10, "the copies in the ledger")
    assert sums["requests"] == 6
    assert sums["cost_usd"] == pytest.approx(6 * (7 * 100 + 5 * 200) / 1e6)


def usage(server, **wanted):
    total = server.get("/api/usage").json()["total"]
    return total if all(total[name] == value for name, value in wanted.items()) else None


def test_shadows_fail_alone(daemon, upstream):
    server = daemon(**shadowed(upstream))
    upstream.answer = Reply(status=500)
    for _ in range(5):
        assert ask(server).status == 200
    poll(lambda: arms(server)["copy"]["errors"] == 5, 20, "the copies' failures")
    upstream.down()
    for _ in range(5):
        assert ask(server).status == 200
    poll(lambda: server.health()["requests_in_flight"] == 0, 10, "the end")
    assert arms(server)["old"]["errors"] == 0


@pytest.mark.parametrize("hint", [{"local_only": True}, {"privacy": "high"}])
def test_what_must_stay_has_no_remote_shadow(daemon, upstream, hint):
    server = daemon(**shadowed(upstream))
    assert ask(server, "stays here", **hint).status == 200
    assert ask(server, "may go").status == 200
    upstream.wait(1)
    assert [copy.body["messages"][-1]["content"] for copy in upstream.requests] == ["may go"]
    assert b"stays here" not in upstream.requests[0].raw


def test_a_daemon_ends_though_shadows_run(daemon, upstream):
    server = daemon(**shadowed(upstream))
    upstream.answer = Reply(stall="headers")
    assert ask(server).status == 200
    upstream.wait(1)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < scaled(10)


# --- feedback, restart ---


def rate(server, answer, rating, status=200):
    got = server.post("/api/feedback", {"request_id": answer.header("x-request-id"), "rating": rating})
    assert got.status == status, got


def test_feedback_reaches_its_arm(daemon):
    server = daemon(models=MODELS, config={"experiments": [experiment(sticky="session", metric="feedback")]})
    answers = [ask(server, session=f"s{i}") for i in range(20)]
    for answer in answers:
        rate(server, answer, 1 if arm_of(answer) == "new" else -1)
    given = collections.Counter(arm_of(answer) for answer in answers)
    counted = arms(server)
    assert counted["new"]["feedback"]["count"] == given["new"] > 0
    assert counted["old"]["feedback"]["count"] == given["old"] > 0
    assert counted["new"]["feedback"]["mean"] == pytest.approx(1)
    assert counted["old"]["feedback"]["mean"] == pytest.approx(-1)
    # A changed mind is not two opinions; an answer that nobody gave has none.
    rate(server, answers[0], 0.5)
    assert sum(arm["feedback"]["count"] for arm in arms(server).values()) == 20
    missing = server.post("/api/feedback", {"request_id": "req-of-nobody", "rating": 1})
    assert missing.status == 404


def test_a_restart_keeps_the_figures(daemon, tmp_path):
    settings = {
        "models": {"one": "fake:slots=4", "two": "fake:slots=4,fail_at=0"},
        "config": {"experiments": [experiment(sticky="none", guardrail={"minimum": 10})]},
        "state_dir": str(tmp_path / "state"),
        "breaker_failures": 0,
    }
    first = daemon(**settings)
    first.expect_errors("told to fail")
    poll(lambda: ask(first) and arms(first)["new"]["state"] == "stopped", 60, "the arm's end")
    for _ in range(5):
        assert ask(first).status == 200
    before = report(first)
    assert first.stop() == 0
    second = daemon(**settings)
    after = report(second)
    assert [(arm["requests"], arm["errors"], arm["state"], arm["why"]) for arm in after["arms"]] == [
        (arm["requests"], arm["errors"], arm["state"], arm["why"]) for arm in before["arms"]
    ]
    assert {arm_of(ask(second)) for _ in range(10)} == {"old"}
    before_old = next(arm for arm in before["arms"] if arm["name"] == "old")
    assert arms(second)["old"]["requests"] == before_old["requests"] + 10


# --- the decision log ---


def decisions(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_decisions_are_written_down(daemon, upstream, tmp_path):
    path = tmp_path / "decisions.jsonl"
    key_of_provider = "provider-secret-0123456789"
    server = daemon(
        models={"one": "fake:slots=4", "two": "fake:slots=4"},
        config={
            "providers": {"up": provider(upstream, apiKeyEnv="UP_KEY")},
            "prices": {"up/m": {"input": 100, "output": 200}},
            "keys": [{"name": "ann", "key": ANN}],
            "experiments": [experiment()],
        },
        environment={"UP_KEY": key_of_provider},
        decision_log=str(path),
    )
    headers = {"Authorization": f"Bearer {ANN}", "x-roundhouse-agent-type": "coder"}
    secret_words = "the-password-of-my-bank"
    routed = server.chat(f"{secret_words} def f(): pass", headers=headers, model="up/m")
    assert routed.status == 200 and upstream.requests[0].key == key_of_provider
    tried = ask(server, secret_words, headers=headers)
    lines = poll(lambda: (found := decisions(path)) and len(found) == 2 and found, 10, "two lines")
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = lines
    assert first["request_id"] == routed.header("x-request-id")
    assert abs(first["time_ms"] / 1000 - time.time()) < 600
    assert first["who"]["key"].startswith("key_") and len(first["who"]["address_hash"]) == 16
    assert first["choice"]["members"][0] == "up/m" and first["choice"]["reason"]
    assert first["features"]["agent_type"] == "coder"
    outcome = first["outcome"]
    assert (outcome["status"], outcome["provider"], outcome["model"]) == ("ok", "up", "m")
    assert (outcome["prompt_tokens"], outcome["completion_tokens"]) == (7, 5)
    assert outcome["cost_usd"] == pytest.approx(0.0017)
    assert outcome["latency_ms"] > 0
    assert first["shadow"] is False
    assert second["choice"]["experiment"] == "trial" and second["choice"]["arm"] == arm_of(tried)
    text = path.read_text()
    for word in (secret_words, ANN, key_of_provider, "127.0.0.1", "Bearer"):
        assert word not in text


def test_the_log_rotates(daemon, tmp_path):
    path = tmp_path / "logs" / "decisions.jsonl"
    path.parent.mkdir()
    server = daemon(models=MODELS, decision_log=str(path), decision_log_bytes="8KiB", decision_log_files=2)
    asked = []
    lock = threading.Lock()

    def more():
        answer = ask(server)
        with lock:
            asked.append(answer.header("x-request-id"))
        return path.with_name(path.name + ".2").exists()

    poll(more, 30, "the second rotation")
    for _ in range(10):
        more()
    assert server.stop() == 0
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]
    assert all(0 < file.stat().st_size <= 8192 for file in files)
    # The newest lines are there, each whole and once, in order.
    kept = [line["request_id"] for file in (files[2], files[1], files[0]) for line in decisions(file)]
    assert kept == asked[-len(kept) :]


def test_a_log_that_cannot_be_written(daemon, tmp_path):
    (tmp_path / "file").write_text("in the way")
    server = daemon(models=MODELS, decision_log=str(tmp_path / "file" / "decisions.jsonl"))
    for _ in range(5):
        assert ask(server).status == 200
    poll(lambda: [line for line in server.log(level="warn") if "decision" in json.dumps(line)], 10, "a line")

# SPDX-License-Identifier: Apache-2.0
"""Routing on the wire: rules and conditions, groups, strategies, sessions, prefer_backend, and what an answer says of its way."""

import time
from collections import Counter

import pytest

from harness.daemon import chat_body
from harness.upstream import Upstream

MODELS = {"a": "fake:slots=4", "b": "fake:slots=4", "usual": "fake:slots=4"}


def rule(condition, model="a", **more):
    return {"condition": condition, "action": {"provider": "local", "model": model}, **more}


@pytest.fixture(scope="module")
def remote():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def server(module_daemon, remote):
    def condition(field, value):
        return {"all": [{"header": {"x-case": field}}, value]}

    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    other_day = days[(time.gmtime().tm_wday + 3) % 7]  # the harness sets UTC
    rules = [
        rule(condition("header", {"header": {"x-team": {"prefix": "blue"}}}), reason="blue teams"),
        rule(condition("agent", {"agentType": ["research*", "writer"]}), name="by agent"),
        rule(condition("complexity", {"complexity": {"min": 0.2}})),
        rule(condition("level", {"complexity": ["medium", "high"]})),
        rule(condition("tokens", {"promptTokens": {"min": 100}})),
        rule(condition("code", {"hasCode": True})),
        rule(condition("language", {"language": "de"})),
        rule(condition("turns", {"turns": {"min": 2}})),
        rule(condition("stream", {"stream": True})),
        rule(condition("task", {"task": "complete"})),
        rule(condition("session", {"session": "s-*"})),
        rule(condition("user", {"user": "ann"})),
        rule(condition("privacy", {"privacy": ["medium", "high"]})),
        rule(condition("local", {"localOnly": True})),
        rule(condition("day", {"time": {"days": [other_day]}})),
        rule(condition("always", {"time": {"from": "00:00", "to": "24:00"}})),
        rule(condition("not", {"not": {"any": [{"agentType": "x"}, {"agentType": "y"}]}})),
        rule(condition("answer", {"answerTokens": {"max": 10}})),
        rule({"header": {"x-case": "umlaut"}}, reason="für alle – 🚂\nzwei"),
    ]
    config = {
        "providers": {
            "up": {"type": "openai-compatible", "baseUrl": remote.url, "local": False,
                   "models": {"default": "m", "fast": "m-fast"}},
        },
        "prices": {"up/m": {"input": 1000, "output": 2000}},
        "routing": {
            "rules": rules,
            "groups": {
                "turns": {"strategy": "round-robin", "members": ["local/a", {"provider": "local", "model": "b", "weight": 3}]},
                "sticky": {"strategy": "load-balanced", "sticky": "session", "members": ["local/a", "local/b", "up/m"]},
                "cheap": {"strategy": "cost-optimized", "members": ["up/m", "local/b"]},
            },
        },
    }  # fmt: skip
    return module_daemon(models=MODELS, config=config, default_model="usual")


def chosen(answer):
    assert answer.status == 200, answer
    return answer.header("x-roundhouse-model")


CASES = [
    ("header", {}, {"x-team": "blue-2"}, {"x-team": "red"}),
    ("agent", {"agent_type": "researcher"}, {}, {}),
    ("complexity", {"text": "Why? Compare and prove step by step, explain in detail:\n- must\n- at least\n- only\n" * 3}, {}, {}),
    ("level", {"complexity": "high"}, {}, {}),
    ("tokens", {"text": "word " * 200}, {}, {}),
    ("code", {"text": "```c\nint main(void) { return 0; }\n```"}, {}, {}),
    ("language", {"text": "Warum ist der Himmel blau und nicht grün, und was ist mit dem Meer?"}, {}, {}),
    ("session", {"session": "s-1"}, {}, {}),
    ("user", {"user": "ann"}, {}, {}),
    ("privacy", {"privacy": "medium"}, {}, {}),
    ("local", {"local_only": True}, {}, {}),
    ("answer", {"max_tokens": 4}, {}, {}),
]


@pytest.mark.parametrize("case, fields, headers, other", CASES, ids=[case[0] for case in CASES])
def test_conditions(server, case, fields, headers, other):
    fields = dict(fields)
    text = fields.pop("text", "hi")
    yes = server.chat(text, headers={"x-case": case, **headers}, **fields)
    assert chosen(yes) == "a", yes.header("x-roundhouse-route")
    assert "rule" in yes.header("x-roundhouse-route") or "blue teams" in yes.header("x-roundhouse-route")
    assert chosen(server.chat("hi", headers={"x-case": case, **other})) == "usual"
    # Another header, another rule.
    assert chosen(server.chat(text, headers={"x-case": "none", **headers}, **fields)) == "usual"


def test_conditions_on_shape_and_time(server):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "hi"}]
    headers = {"x-case": "turns"}
    assert chosen(server.post("/v1/chat/completions", {"messages": turns}, headers=headers)) == "a"
    assert chosen(server.post("/v1/completions", {"prompt": "hi", "max_tokens": 3}, headers={"x-case": "task"})) == "a"
    assert chosen(server.chat("hi", headers={"x-case": "task"})) == "usual"
    assert chosen(server.chat("hi", headers={"x-case": "day"})) == "usual"
    assert chosen(server.chat("hi", headers={"x-case": "always"})) == "a"
    assert chosen(server.chat("hi", headers={"x-case": "not"})) == "a"
    assert chosen(server.chat("hi", headers={"x-case": "not"}, agent_type="y")) == "usual"
    with server.stream("/v1/chat/completions", chat_body("hi", stream=True), headers={"x-case": "stream"}) as stream:
        assert stream.start().header("x-roundhouse-model") == "a"
        assert list(stream)


def test_what_an_answer_says(server, remote):
    answer = server.chat("hi", headers={"x-case": "agent"}, agent_type="writer")
    said = answer.json()["roundhouse"]
    assert (said["provider"], said["cache"], said["cost_usd"]) == ("local", "off", 0)
    assert "by agent" in said["route_reason"] and said["route_reason"] == answer.header("x-roundhouse-route")
    assert (answer.header("x-roundhouse-provider"), answer.header("x-roundhouse-cache")) == ("local", "off")
    assert float(answer.header("x-roundhouse-cost-usd")) == 0
    # A header is one line of ASCII; the body has the words as they are.
    answer = server.chat("hi", headers={"x-case": "umlaut"})
    assert "für alle – 🚂" in answer.json()["roundhouse"]["route_reason"]
    assert answer.header("x-roundhouse-route").isascii()
    # 7 tokens in and 5 out.
    answer = server.chat("hi", model="up/m")
    cost = (7 * 1000 + 5 * 2000) / 1e6
    assert answer.json()["roundhouse"]["cost_usd"] == pytest.approx(cost)
    assert float(answer.header("x-roundhouse-cost-usd")) == pytest.approx(cost)
    with server.chat_stream("hi", model="up/m") as stream:
        assert stream.start().header("x-roundhouse-provider") == "up"
        notes = [event.json().get("roundhouse") for event in stream if event.data != "[DONE]"]
    assert notes[-1]["cost_usd"] == pytest.approx(cost)


def test_what_the_meta_of_an_inference_says(daemon):
    server = daemon(models={"labels": "fake:task=classify,labels=cat/dog"}, config={"routing": {"mode": "rule-based"}})
    answer = server.post("/api/inference", {"model_id": "labels", "inputs": "a cat"})
    assert answer.status == 200, answer
    meta = answer.json()["meta"]
    assert (meta["provider"], meta["cache"], meta["cost_usd"]) == ("local", "off", 0) and meta["route_reason"]


def test_round_robin_by_weight(server):
    assert Counter(chosen(server.chat("hi", model="turns")) for _ in range(8)) == {"a": 2, "b": 6}


def test_a_session_stays(server):
    members = set()
    for session in range(12):
        answers = {chosen(server.chat("hi", model="sticky", session=f"c{session}")) for _ in range(3)}
        assert len(answers) == 1
        members |= answers
    assert len(members) > 1  # not all on one
    header = {chosen(server.chat("hi", model="sticky", headers={"x-roundhouse-session": "c1"})) for _ in range(3)}
    assert header == {chosen(server.chat("hi", model="sticky", session="c1"))}


def test_strategies(server):
    assert chosen(server.chat("hi", model="cheap")) == "b"  # what runs here costs nothing
    for strategy in ("cost", "latency", "quality", "round-robin", "load-balanced"):
        for answer in (server.chat("hi", route_strategy=strategy),
                       server.chat("hi", headers={"x-roundhouse-strategy": strategy})):  # fmt: skip
            assert answer.status == 200, answer


def test_prefer_backend(server):
    """Nobody here has a GPU: preferring one excludes nobody."""
    for backend in ("cpu", "gpu", "auto"):
        answer = server.post("/generate", {"prompt": "hi", "max_tokens": 3, "prefer_backend": backend})
        assert chosen(answer) in MODELS
    assert server.post("/generate", {"prompt": "hi", "prefer_backend": "tpu"}).status == 400


@pytest.mark.parametrize(
    "fields, headers, param",
    [
        ({"privacy": "top"}, {}, "privacy"),
        ({"local_only": 3}, {}, "local_only"),
        ({"complexity": "hard"}, {}, "complexity"),
        ({"complexity": 0.5}, {}, "complexity"),
        ({"cache": "maybe"}, {}, "cache"),
        ({"agent_type": 7}, {}, "agent_type"),
        ({"route_strategy": "fastest"}, {}, None),
        ({}, {"x-roundhouse-privacy": "top"}, "x-roundhouse-privacy"),
        ({}, {"x-roundhouse-local-only": "maybe"}, "x-roundhouse-local-only"),
        ({}, {"x-roundhouse-complexity": "hard"}, "x-roundhouse-complexity"),
        ({}, {"x-roundhouse-cache": "maybe"}, "x-roundhouse-cache"),
        ({}, {"x-roundhouse-strategy": "fastest"}, None),
    ],
)
def test_wrong_hints(server, fields, headers, param):
    answer = server.chat("hi", headers=headers, **fields)
    assert answer.status == 400, answer
    assert param is None or answer.error()["param"] == param


def test_models_are_listed(server):
    """Groups and what providers list, besides the models of this machine."""
    names = [model["id"] for model in server.get("/v1/models").json()["data"]]
    assert {*MODELS, "turns", "sticky", "cheap", "up/m", "up/m-fast"} == set(names)
    assert len(names) == len(set(names))
    assert server.get("/v1/models/up/m").json()["id"] == "up/m"
    assert server.get("/v1/models/turns").json()["roundhouse"]["state"] == "group"
    assert server.get("/v1/models/up/nope").status == 404

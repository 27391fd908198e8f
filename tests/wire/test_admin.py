# SPDX-License-Identifier: Apache-2.0
"""Admin calls on models: look, load, unload, pin, alias. With the fake engine; a model's memory is what the
configuration says of it."""

import threading

import pytest

from harness import procs
from harness.metrics import Metrics
from harness.ndjson import Lines
from harness.wait import holds_for, poll

MIB = 1024 * 1024
QUICK = {"backoff_min": "20ms", "backoff_max": "200ms", "preload": False}


def sized(**models):
    """A configuration of fake models that need so many MiB each: sized(a=200, b=(200, "load_delay_ms=50"))."""
    entries = {}
    for name, value in models.items():
        size, script = value if isinstance(value, tuple) else (value, "")
        entries[name] = {"path": f"fake:{script}", "memory": f"{size}MiB"}
    return {"models": entries}


def status(server, name):
    answer = server.get(f"/api/models/status/{name}")
    assert answer.status == 200, answer
    return answer.json()


def load(server, name, **fields):
    return server.post("/api/models/load", {"model": name, **fields})


def unload(server, name, **fields):
    return server.post("/api/models/unload", {"model": name, **fields})


def alias(server, name, model, **fields):
    return server.post("/api/models/alias", {"alias": name, "model": model, **fields})


@pytest.fixture(scope="module")
def server(module_daemon):
    """One for the calls that change nothing, or put back what they changed."""
    return module_daemon(models={"alpha": "fake:slots=2", "beta": "fake:", "org/model:v1": "fake:"}, preload=False)


# --- looking ---


def test_list(server):
    answer = server.get("/api/models")
    assert answer.status == 200
    body = answer.json()
    assert [model["name"] for model in body["models"]] == ["alpha", "beta", "org/model:v1"]
    assert body["default"] == "alpha"
    assert body["aliases"] == []
    assert body["memory"]["ram"]["budget_bytes"] > 0
    assert body["store"]["free_bytes"] > 0
    assert body["stored"] == []
    for model in body["models"]:
        assert model["engine"] == "fake"
        assert model["state"] in ("cold", "ready")
        assert model["pinned"] is False
        assert model["memory"]["ram_bytes"] > 0


def test_status_by_name_version_and_path(server):
    found = status(server, "org/model:v1")
    assert found["name"] == "org/model:v1"
    assert found["version"] == "v1"
    assert found["route_reason"] == "named by the request"
    assert status(server, "org%2Fmodel%3Av1")["name"] == "org/model:v1"
    newest = status(server, "org/model")
    assert newest["name"] == "org/model:v1"
    assert newest["route_reason"] == "newest version of org/model"


def test_looking_loads_none(daemon):
    server = daemon(models={"alpha": "fake:"}, preload=False)
    for path in ("/api/models", "/api/models/status/alpha", "/api/models/catalogue", "/metrics", "/v1/models"):
        assert server.get(path).status == 200, path
    load(server, "alpha", plan=True)
    assert server.worker_pids() == []


def test_catalogue_says_what_fits(server):
    models = server.get("/api/models/catalogue").json()["models"]
    assert len(models) > 20
    for model in models:
        assert isinstance(model["fits"], bool)
        assert model["fits"] or len(model["reason"]) > 20, model
        assert model["here"] is False


UNKNOWN = [
    ("GET", "/api/models/status/alpa", None),
    ("POST", "/api/models/load", {"model": "alpa"}),
    ("POST", "/api/models/unload", {"model": "alpa"}),
    ("POST", "/api/models/unload/alpa", None),
    ("POST", "/api/models/pin", {"model": "alpa"}),
    ("POST", "/api/models/alias", {"alias": "fast", "model": "alpa"}),
    ("DELETE", "/api/models/alpa", None),
    ("DELETE", "/api/models", {"model": "alpa"}),
    ("POST", "/api/models/copy", {"from": "alpa", "to": "x"}),
]


@pytest.mark.parametrize("method,path,body", UNKNOWN, ids=lambda value: value if isinstance(value, str) else "")
def test_unknown_model_names_the_nearest(server, method, path, body):
    answer = server.fetch(method, path, body)
    assert answer.status == 404, answer
    error = answer.error()
    assert error["param"] == "model" and error["code"] == "model_not_found", error
    assert "did you mean 'alpha'?" in error["message"], error


WRONG = [
    ("/api/models/load", {}, "model", '"model" is missing'),
    ("/api/models/load", {"model": ""}, "model", '"model" is empty'),
    ("/api/models/load", {"model": 5}, "model", "string"),
    ("/api/models/load", {"model": "alpha", "plann": True}, "plann", 'did you mean "plan"'),
    ("/api/models/load", {"model": "alpha", "plan": "yes"}, "plan", "true or false"),
    ("/api/models/load", {"model": "alpha", "keep_alive": "soon"}, "keep_alive", "no time"),
    ("/api/models/load", {"model": "alpha", "keep_alive": []}, "keep_alive", "number of seconds"),
    ("/api/models/load", [], None, "must be a JSON object"),
    ("/api/models/load", b"{", None, "the request's body is"),
    ("/api/models/unload", {"model": "alpha", "force": 1}, "force", "true or false"),
    ("/api/models/unload/alpha", {"model": "alpha"}, "model", "unknown field"),
    ("/api/models/pin", {"pinned": True}, "model", "missing"),
    ("/api/models/alias", {"model": "alpha"}, "alias", "missing"),
    ("/api/models/alias", {"alias": "fast"}, "model", "missing"),
    ("/api/models/alias", {"alias": "a b", "model": "alpha"}, None, "a b"),
    ("/api/models/copy", {"from": "alpha"}, "to", "missing"),
    ("/api/models/pull", {}, "model", "missing"),
    ("/api/models/pull", {"model": "-x"}, "model", "no source"),
    ("/api/models/pull", {"model": "a\nb"}, "model", "no source"),
    ("/api/models/pull", {"model": "file:relative.gguf"}, "model", "absolute path"),
    ("/api/models/pull", {"model": "x", "name": "a b"}, None, "a b"),
]


@pytest.mark.parametrize("path,body,param,words", WRONG)
def test_wrong_bodies(server, path, body, param, words):
    answer = server.post(path, body)
    assert answer.status == 400, answer
    assert answer.header("x-should-retry") == "false"
    assert answer.header("x-request-id")
    error = answer.error()
    assert words in error["message"], error
    if param is not None:
        assert error["param"] == param, error


METHODS = [
    ("/api/models", "GET, HEAD, DELETE, OPTIONS"),
    ("/api/models/load", "POST, DELETE, OPTIONS"),
    ("/api/models/status/alpha", "GET, HEAD, DELETE, OPTIONS"),
    ("/api/models/unload/alpha", "POST, DELETE, OPTIONS"),
    ("/api/models/alpha", "DELETE, OPTIONS"),
]


@pytest.mark.parametrize("path,allowed", METHODS)
def test_methods(server, path, allowed):
    answer = server.fetch("OPTIONS", path, headers={"Origin": "http://localhost:3000"})
    assert answer.status == 204
    assert answer.header("allow") == allowed
    assert answer.header("access-control-allow-methods") == allowed
    answer = server.fetch("PUT", path, {})
    assert answer.status == 405
    assert answer.header("allow") == allowed


def test_strangers_pages_are_kept_out(server):
    answer = server.post("/api/models/unload", {"model": "alpha"}, headers={"Origin": "http://evil.example"})
    assert answer.status == 403
    answer = server.post("/api/models/unload/alpha", None, headers={"Origin": "http://evil.example"})
    assert answer.status == 403


def test_the_body_must_be_json(server):
    answer = server.post("/api/models/load", b"<x/>", headers={"Content-Type": "application/xml"})
    assert answer.status == 415
    # What curl sends by itself is forgiven, as elsewhere.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.post("/api/models/load", b'{"model":"alpha","plan":true}', headers=form).status == 200


def test_a_large_body_is_refused(daemon):
    server = daemon(body_bytes_max="1KiB")
    answer = server.post("/api/models/load", {"model": "x" * 2000})
    assert answer.status == 413


def test_head_has_no_body(server):
    answer = server.fetch("HEAD", "/api/models")
    assert answer.status == 200
    assert int(answer.header("content-length")) > 10


# --- loading ---


def test_load_and_unload(daemon):
    server = daemon(models={"alpha": "fake:", "beta": "fake:"}, preload=False)
    answer = load(server, "beta")
    assert answer.status == 200
    body = answer.json()
    assert body["name"] == "beta" and body["state"] == "ready"
    assert body["load_ms"] >= 0 and body["pid"] > 0
    assert server.worker_pids() == [body["pid"]]
    assert load(server, "beta").json()["pid"] == body["pid"]
    answer = unload(server, "beta")
    assert answer.status == 200
    assert answer.json()["state"] == "cold"
    assert not procs.alive(body["pid"])
    assert unload(server, "beta").status == 200  # it is what was wanted
    load(server, "alpha")
    assert server.post("/api/models/unload/alpha", None).json()["state"] == "cold"
    assert server.metric("roundhouse_model_loads_total", result="ok") == 2
    assert server.metric("roundhouse_model_evictions_total", reason="asked") == 2


def test_load_by_alias_and_default(daemon):
    server = daemon(models={}, config=dict(sized(alpha=1, beta=1), aliases={"fast": "beta"}), **QUICK)
    assert load(server, "fast").json()["name"] == "beta"
    assert load(server, "default").json()["name"] == "alpha"
    assert status(server, "fast")["route_reason"] == "alias fast"


def test_load_streams_its_progress(daemon):
    server = daemon(models={"slow": "fake:load_delay_ms=400"}, preload=False)
    with Lines(server, "POST", "/api/models/load", {"model": "slow", "stream": True}) as lines:
        events = list(lines)
    assert lines.head.status == 200
    assert lines.head.header("content-type") == "application/x-ndjson"
    assert [event["event"] for event in events[:-1]] == ["loading"] * (len(events) - 1)
    fractions = [event["fraction"] for event in events[:-1]]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 2, events
    assert events[-1]["event"] == "done"
    assert events[-1]["state"] == "ready"


def test_load_that_fails_in_a_stream(daemon):
    server = daemon(models={"bad": "fake:load_fail=1,load_delay_ms=200"}, **QUICK)
    server.expect_errors("told to fail", "not loaded")
    with Lines(server, "POST", "/api/models/load", {"model": "bad", "stream": True}) as lines:
        events = list(lines)
    if lines.head.status == 200:
        assert events[-1]["event"] == "error"
        assert events[-1]["status"] == "load_failed"
        assert "told to fail" in events[-1]["message"]
        assert events[-1]["error"]["message"] == events[-1]["message"]
    else:
        assert "told to fail" in lines.head.error()["message"]


def test_ten_requests_for_a_cold_model_cause_one_load(daemon):
    server = daemon(models={"slow": "fake:slots=4,load_delay_ms=300"}, preload=False)
    answers = []

    def ask():
        answers.append(server.chat("hi [[tokens=2]]"))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    assert load(server, "slow").status == 200
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 10
    assert server.metric("roundhouse_model_loads_total") == 1
    assert len(server.log(message="worker started")) == 1
    assert server.metric("roundhouse_model_load_wait_seconds_count") == 1


def test_failed_load_gives_every_waiter_the_reason(daemon):
    server = daemon(models={"bad": "fake:load_fail=1,load_delay_ms=300"}, **QUICK)
    server.expect_errors("told to fail", "not loaded")
    answers = []

    def ask(number):
        answers.append(server.chat("hi") if number % 2 else load(server, "bad"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert answer.status == 500, answer
        assert "told to fail" in answer.error()["message"]
        assert answer.header("x-should-retry") == "false"
    assert len(server.log(message="worker started")) == 1
    assert status(server, "bad")["state"] == "failed"
    assert "told to fail" in status(server, "bad")["error"]
    assert server.metric("roundhouse_model_loads_total", result="load_failed") >= 1


def test_client_that_leaves_does_not_stop_a_load(daemon):
    server = daemon(models={"slow": "fake:load_delay_ms=500"}, preload=False)
    with server.connect() as connection:
        connection.send_request("POST", "/api/models/load", {"model": "slow"})
        poll(lambda: status(server, "slow")["state"] in ("starting", "loading"), 5, "a load under way")
    poll(lambda: status(server, "slow")["state"] == "ready", 10, "the load's end")
    server.wait_idle()


def test_unload_waits_for_running_requests(daemon):
    server = daemon(models={"fake": "fake:slots=2"})
    with server.chat_stream("[[tokens=40 delay_ms=20]]") as stream:
        stream.next_text()
        done = []
        thread = threading.Thread(target=lambda: done.append(unload(server, "fake")))
        thread.start()
        poll(lambda: status(server, "fake")["state"] == "draining", 5, "a model that drains")
        events = list(stream)
        assert events[-1].data == "[DONE]"
        assert not any("error" in event.data for event in events)
        thread.join()
    assert done[0].status == 200, done[0]
    assert done[0].json()["state"] == "cold"


def test_forced_unload_cuts_them_with_an_error(daemon):
    server = daemon(models={"fake": "fake:slots=2"})
    with server.chat_stream("[[tokens=1000 delay_ms=20]]") as stream:
        stream.next_text()
        assert unload(server, "fake", force=True).json()["state"] == "cold"
        events = list(stream)
        assert any('"error"' in event.data for event in events), events
    assert server.chat("hi").status == 200  # and the next request loads it again


# --- memory ---


def test_plan_says_what_a_load_would_evict(daemon):
    server = daemon(models={}, config=sized(a=200, b=200, c=900), memory_budget="500MiB", **QUICK)
    plan = load(server, "a", plan=True).json()
    assert plan["fits"] is True and plan["evicts"] == []
    assert plan["need"]["ram_bytes"] >= 200 * MIB
    assert plan["budget"]["ram_bytes"] == 500 * MIB
    pid = load(server, "a").json()["pid"]
    load(server, "b")
    plan = load(server, "c", plan=True).json()
    assert plan["fits"] is False
    assert "900" in plan["refused"] and "500" in plan["refused"], plan
    assert procs.alive(pid)


def test_plan_names_the_victim(daemon):
    server = daemon(models={}, config=sized(a=200, b=200), memory_budget="300MiB", **QUICK)
    pid = load(server, "a").json()["pid"]
    plan = load(server, "b", plan=True).json()
    assert [victim["model"] for victim in plan["evicts"]] == ["a"], plan
    assert plan["evicts"][0]["ram_bytes"] >= 200 * MIB
    assert procs.alive(pid), "a plan changes nothing"
    assert load(server, "b").status == 200
    assert not procs.alive(pid)
    assert status(server, "a")["state"] == "cold"
    assert server.metric("roundhouse_model_evictions_total", reason="memory") == 1
    assert server.metric("roundhouse_models_loaded") == 1


def test_a_pinned_model_is_not_evicted(daemon):
    config = sized(a=200, b=200)
    server = daemon(models={}, config=config, memory_budget="300MiB", load_wait="300ms", load_patience="100ms", **QUICK)
    server.expect_errors("no room|memory")
    pid = load(server, "a").json()["pid"]
    answer = server.post("/api/models/pin", {"model": "a"})
    assert answer.status == 200 and answer.json()["pinned"] is True
    answer = server.chat("hi", model="b")
    assert answer.status == 503, answer
    error = answer.error()
    assert error["code"] == "no_memory_for_model"
    assert "200" in error["message"] and "300" in error["message"], error
    assert answer.header("retry-after")
    assert procs.alive(pid)
    answer = unload(server, "a")
    assert answer.status == 409 and "pinned" in answer.error()["message"]
    assert server.post("/api/models/pin", {"model": "a", "pinned": False}).json()["pinned"] is False
    assert server.chat("hi", model="b").status == 200
    assert not procs.alive(pid)


def test_more_than_the_whole_budget(daemon):
    server = daemon(models={}, config=sized(a=1, huge=900), memory_budget="500MiB", load_wait="5s", **QUICK)
    server.expect_errors("budget")
    for answer in (load(server, "huge"), server.chat("hi", model="huge")):
        assert answer.status in (400, 503), answer
        message = answer.error()["message"]
        assert "900" in message and "500" in message, message


def test_a_machine_that_lacks_what_a_model_needs(daemon):
    config = {"models": {"a": {"path": "fake:"}, "big": {"path": "fake:", "memory_min": "512GiB"}}}
    config["models"]["cuda"] = {"path": "fake:", "gpu_required": True}
    server = daemon(models={}, config=config, **QUICK)
    server.expect_errors("512")
    for answer in (load(server, "big"), server.chat("hi", model="big")):
        assert answer.status == 400, answer
        assert answer.error()["code"] == "insufficient_hardware"
        assert "512" in answer.error()["message"]


def test_max_loaded_models(daemon):
    server = daemon(models={name: "fake:" for name in "abc"}, max_loaded_models=2, preload=False)
    for name in "abc":
        assert server.chat("hi [[tokens=1]]", model=name).status == 200
    loaded = [model["name"] for model in server.get("/api/models").json()["models"] if model["state"] == "ready"]
    assert len(loaded) == 2 and "c" in loaded
    assert server.metric("roundhouse_models_loaded") == 2


def test_metrics_of_memory(daemon):
    server = daemon(models={}, config=sized(a=200), memory_budget="500MiB", **QUICK)
    load(server, "a")
    assert server.metric("roundhouse_memory_budget_bytes", device="ram") == 500 * MIB
    assert server.metric("roundhouse_memory_reserved_bytes") >= 200 * MIB
    assert server.metric("roundhouse_model_memory_bytes", kind="reserved") >= 200 * MIB
    server.wait_metric("roundhouse_model_memory_bytes", lambda value: value > MIB, kind="resident")
    unload(server, "a")
    metrics = server.metrics()
    assert isinstance(metrics, Metrics)
    assert metrics.sum("roundhouse_memory_reserved_bytes") == 0
    assert metrics.sum("roundhouse_model_memory_bytes") == 0
    assert metrics.sum("roundhouse_worker_resident_memory_bytes") == 0


# --- aliases ---


def test_alias(daemon):
    server = daemon(models={"a": "fake:", "b": "fake:"}, preload=False)
    answer = alias(server, "fast", "b")
    assert answer.status == 200
    assert answer.json()["alias"] == "fast" and answer.json()["model"] == "b"
    assert server.chat("hi", model="fast").json()["model"] == "b"
    listed = {model["id"]: model["roundhouse"]["aliases"] for model in server.get("/v1/models").json()["data"]}
    assert listed == {"a": [], "b": ["fast"]}
    assert server.get("/v1/models/fast").json()["id"] == "b"
    assert server.get("/api/models").json()["aliases"][0]["alias"] == "fast"
    assert alias(server, "fast", "a").json()["model"] == "a"
    assert alias(server, "fast", None).json() == {"alias": "fast", "model": None}
    assert server.chat("hi", model="fast").status == 404
    assert alias(server, "fast", None).status == 404


def test_alias_outlives_the_daemon(daemon, tmp_path):
    store = tmp_path / "store"
    server = daemon(models={"a": "fake:", "b": "fake:"}, store_dir=store, preload=False)
    alias(server, "fast", "b")
    assert server.stop() == 0
    again = daemon(models={"a": "fake:", "b": "fake:"}, store_dir=store, preload=False)
    assert again.chat("hi", model="fast").json()["model"] == "b"


def test_alias_may_not_hide_a_model(server):
    answer = alias(server, "beta", "alpha")
    assert answer.status in (400, 409), answer
    assert "beta" in answer.error()["message"]


def test_moving_an_alias_loads_first_and_loses_nothing(daemon):
    server = daemon(models={"v1": "fake:slots=4", "v2": "fake:slots=4,load_delay_ms=300"}, preload=False)
    alias(server, "chat", "v1")
    load(server, "chat")  # not by its own name: that would be a reason to stay
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(server.chat("hi [[tokens=3]]", model="chat"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    moved = alias(server, "chat", "v2")
    seen = len(answers)
    poll(lambda: len(answers) > seen + 20, 10, "answers after the swap")
    stop.set()
    for thread in threads:
        thread.join()
    assert moved.status == 200 and moved.json()["model"] == "v2"
    assert [answer.status for answer in answers] == [200] * len(answers)
    assert {answer.json()["model"] for answer in answers} == {"v1", "v2"}
    assert server.chat("hi", model="chat").json()["model"] == "v2"
    poll(lambda: status(server, "v1")["state"] == "cold", 10, "the old model's end")
    assert server.metric("roundhouse_swaps_total", result="ok") == 1


def test_a_swap_that_fails_changes_nothing(daemon):
    server = daemon(models={"v1": "fake:", "v2": "fake:load_fail=1"}, **QUICK)
    server.expect_errors("told to fail", "not loaded", "swap")
    alias(server, "chat", "v1")
    load(server, "v1")
    answer = alias(server, "chat", "v2")
    assert answer.status == 500, answer
    assert "told to fail" in answer.error()["message"]
    assert server.chat("hi", model="chat").json()["model"] == "v1"
    entry = server.get("/api/models").json()["aliases"][0]
    assert entry["model"] == "v1" and "told to fail" in entry["error"]
    assert server.metric("roundhouse_swaps_total", result="failed") == 1


def test_alias_without_waiting(daemon):
    server = daemon(models={"v1": "fake:", "v2": "fake:load_delay_ms=400"}, preload=False)
    alias(server, "chat", "v1")
    load(server, "v1")
    answer = alias(server, "chat", "v2", wait=False)
    assert answer.status == 202
    assert answer.json()["model"] == "v1" and answer.json()["swapping_to"] == "v2"
    poll(lambda: server.get("/v1/models/chat").json()["id"] == "v2", 10, "the swap's end")


def test_two_that_do_not_fit_together(daemon):
    server = daemon(models={}, config=sized(v1=200, v2=200), memory_budget="300MiB", **QUICK)
    server.expect_errors("memory", "swap")
    alias(server, "chat", "v1")
    load(server, "v1")
    answer = alias(server, "chat", "v2")
    assert answer.status == 503, answer
    assert answer.error()["code"] == "no_memory_for_model"
    assert "400 MiB" in answer.error()["message"] and "300 MiB" in answer.error()["message"]
    assert server.chat("hi", model="chat").json()["model"] == "v1"
    answer = alias(server, "chat", "v2", replace=True)
    assert answer.status == 200, answer
    assert server.chat("hi", model="chat").json()["model"] == "v2"


# --- the end of the daemon ---


def test_admin_calls_end_with_the_daemon(daemon):
    server = daemon(models={"slow": "fake:load_delay_ms=5000"}, preload=False)
    with server.connect() as connection:
        connection.send_request("POST", "/api/models/load", {"model": "slow"})
        poll(lambda: status(server, "slow")["state"] in ("starting", "loading"), 5, "a load under way")
        server.send_signal(15)
        answer = connection.read_response("POST")
        assert answer.status == 503
        assert "shutting down" in answer.error()["message"]
    assert server.wait_exit(10) == 0


def test_default_model_that_is_not_there(daemon):
    """Its store may be shared: that stops no server. Requests are told, and `config check` tells of a likely typo."""
    server = daemon(models={"alpha": "fake:"}, default_model="alpa", preload=True)
    assert server.log(message="the default model is not here")
    assert server.chat("hi").status == 404
    assert server.chat("hi", model="alpha").status == 200
    holds_for(server.running, 0.1, "a daemon without its default model")

# SPDX-License-Identifier: Apache-2.0
"""What is not a dialect: health, models, metrics, the last request's numbers, the start page."""

import re

import pytest

from harness.wait import poll

MODELS = {"alpha": "fake:slots=2,context=512", "beta": "fake:"}

METRICS = {
    "roundhouse_requests_total": "counter",
    "roundhouse_requests_in_flight": "gauge",
    "roundhouse_request_latency_seconds": "histogram",
    "roundhouse_first_token_latency_seconds": "histogram",
    "roundhouse_time_per_output_token_seconds": "histogram",
    "roundhouse_gen_latency_seconds": "histogram",
    "roundhouse_tokens_generated_total": "counter",
    "roundhouse_prompt_tokens_total": "counter",
    "roundhouse_model_selected_count_total": "counter",
    "roundhouse_cache_hits_total": "counter",
    "roundhouse_rate_limited_count_total": "counter",
    "roundhouse_runs_cancelled_total": "counter",
    "roundhouse_worker_restarts_total": "counter",
    "roundhouse_worker_up": "gauge",
    "roundhouse_queue_depth": "gauge",
    "roundhouse_runs_active": "gauge",
    "roundhouse_worker_resident_memory_bytes": "gauge",
    "roundhouse_engine_steps_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_open_fds": "gauge",
}


@pytest.fixture(scope="module")
def server(module_daemon):
    return module_daemon(models=MODELS, default_model="alpha")


def test_health(server):
    answer = server.get("/health")
    assert answer.status == 200
    assert answer.header("content-type").startswith("application/json")
    assert answer.json()["status"] == "ok"
    server.chat("hi")
    assert len(server.worker_pids()) >= 1


def test_models_list(server):
    answer = server.get("/v1/models")
    assert answer.status == 200
    body = answer.json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["alpha", "beta"]
    for model in body["data"]:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert isinstance(model["owned_by"], str)


def test_model_one(server):
    answer = server.get("/v1/models/beta")
    assert answer.status == 200
    assert answer.json()["id"] == "beta"
    assert answer.json()["object"] == "model"


def test_model_name_with_a_slash_and_a_colon(daemon):
    server = daemon(models={"org/model:v1": "fake:"})
    assert server.get("/v1/models/org/model:v1").json()["id"] == "org/model:v1"
    assert server.get("/v1/models/org%2Fmodel%3Av1").json()["id"] == "org/model:v1"
    assert server.chat("hi", model="org/model:v1").json()["model"] == "org/model:v1"


def test_asking_for_models_loads_none(daemon):
    server = daemon(models=MODELS, default_model="alpha", preload=False)
    server.get("/v1/models")
    server.get("/health")
    server.get("/metrics")
    assert server.worker_pids() == []


def test_preload(daemon):
    server = daemon(models=MODELS, default_model="alpha", preload=True)
    server.worker_pid()
    server.wait_metric("roundhouse_worker_up", lambda value: value == 1)


def test_last_request_stats(daemon):
    server = daemon(models=MODELS, default_model="alpha")
    before = server.get("/last_request_stats")
    assert before.status in (200, 404)
    answer = server.chat("one two three [[tokens=5]]")
    stats = server.get("/last_request_stats")
    assert stats.status == 200
    text = stats.body.decode()
    assert answer.header("x-request-id") in text
    body = stats.json()
    assert body["model"] == "alpha"
    assert body["latency_ms"] > 0
    assert body["first_token_latency_ms"] > 0
    assert body["tokens_per_second"] >= 0
    assert body["cache"] in ("hit", "miss", "off")


def test_start_page(server):
    answer = server.get("/")
    assert answer.status == 200
    assert len(answer.body) > 0


# --- metrics ---


def test_metric_names_and_types(server):
    server.chat("hi")
    with server.chat_stream("hi") as stream:
        list(stream)
    answer = server.get("/metrics")
    assert answer.header("content-type").startswith("text/plain; version=0.0.4")
    metrics = server.metrics()
    for name, kind in METRICS.items():
        assert metrics.types.get(name) == kind, name
        assert metrics.helps.get(name), f"{name} has no HELP"
    for name, labels, _ in metrics.samples:
        assert metrics.family(name) in metrics.types, f"{name} has no TYPE"
        assert re.fullmatch(r"(roundhouse|process)_[a-z_]+", name), name
        assert "user" not in labels and "key" not in labels


def test_histograms_are_whole(server):
    server.chat("hi")
    metrics = server.metrics()
    for name, kind in metrics.types.items():
        if kind != "histogram":
            continue
        for labels, count in metrics.matching(f"{name}_count"):
            buckets = [
                (float(found["le"]), value)
                for found, value in metrics.matching(f"{name}_bucket", **labels)
                if {key: value for key, value in found.items() if key != "le"} == labels
            ]
            bounds = [bound for bound, _ in buckets]
            values = [value for _, value in buckets]
            assert bounds == sorted(bounds) and bounds[-1] == float("inf"), name
            assert values == sorted(values) and values[-1] == count, name
            assert len(metrics.matching(f"{name}_sum", **labels)) == 1


def test_requests_are_counted(daemon):
    server = daemon(models=MODELS, default_model="alpha")
    for _ in range(3):
        server.chat("one two [[tokens=4]]")
    server.chat("hi [[tokens=2]]", model="beta")
    server.post("/v1/completions", {"prompt": "x [[tokens=1]]"})
    server.chat("hi", n=0)
    server.chat("hi", model="nope")
    server.get("/nope")

    def counted(**labels):
        return server.metric("roundhouse_requests_total", **labels)

    poll(lambda: counted(gen_ai_operation_name="chat", status="200") == 4, 5, "four chats")
    assert counted(gen_ai_operation_name="chat", gen_ai_response_model="alpha", status="200") == 3
    assert counted(gen_ai_operation_name="chat", gen_ai_response_model="beta", status="200") == 1
    assert counted(gen_ai_request_model="beta") == 1  # what the client wrote; the others named no model
    assert counted(gen_ai_operation_name="text_completion", status="200") == 1
    assert counted(status="400") == 1
    assert counted(status="404") >= 1
    # A name that a client made up must not become a label.
    assert 'gen_ai_request_model="nope"' not in server.metrics().text
    assert server.metric("roundhouse_tokens_generated_total", gen_ai_response_model="alpha") >= 13
    assert server.metric("roundhouse_tokens_generated_total", gen_ai_response_model="beta") >= 2
    assert server.metric("roundhouse_prompt_tokens_total") > 0
    assert server.metric("roundhouse_model_selected_count_total") == 5
    assert server.metric("roundhouse_request_latency_seconds_count") >= 5


def test_many_unknown_paths_do_not_grow_the_metrics(server):
    for number in range(50):
        server.get(f"/unknown/{number}")
    text = server.metrics().text
    assert "/unknown/" not in text


def test_gauges_follow_the_work(daemon):
    server = daemon(models={"fake": "fake:slots=1"})
    with server.chat_stream("[[tokens=1000 delay_ms=20]]") as first:
        first.next_event()
        server.wait_metric("roundhouse_runs_active", lambda value: value == 1)
        with server.chat_stream("[[tokens=1]]"):
            server.wait_metric("roundhouse_queue_depth", lambda value: value == 1)
            assert server.metric("roundhouse_requests_in_flight") >= 2
    server.wait_idle()
    assert server.metric("roundhouse_worker_up") == 1
    assert server.metric("process_resident_memory_bytes") > 1e6
    assert server.metric("process_open_fds") > 3
    server.wait_metric("roundhouse_worker_resident_memory_bytes", lambda value: value > 1e6)
    server.wait_metric("roundhouse_engine_steps_total", lambda value: value > 0)

# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs that are damaged, lying, reaching outside their folder or asking for operators that do not exist. They need the
ONNX engine; builds without it leave this file out."""

import importlib.util
import os
import signal

import pytest

from harness.daemon import ROOT, WORKER
from harness.wait import poll

QUICK = {"backoff_min": "20ms", "backoff_max": "200ms"}

spec = importlib.util.spec_from_file_location("make_onnx", ROOT / "tests" / "tools" / "make_onnx.py")
make_onnx = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_onnx)


@pytest.fixture
def graphs(tmp_path):
    make_onnx.write(tmp_path / "graphs")
    return tmp_path / "graphs"


def load(server, model):
    return server.post("/api/models/load", {"model": model}, timeout=60)


def test_good_graph_loads(daemon, graphs):
    """And says on what it runs, and why on nothing better."""
    server = daemon(models={"add": graphs / "add.onnx", "hub": graphs / "hub", "fake": "fake:"}, default_model="fake")
    for model in ("add", "hub"):
        answer = load(server, model)
        assert answer.status == 200, answer
        about = answer.json()["loaded"] if "loaded" in answer.json() else answer.json()
        assert about["engine"] == "onnx", about
    (line,) = [entry for entry in server.log(message="an ONNX graph is loaded") if entry["graph"] == "add.onnx"]
    assert line["device"] == "cpu"
    assert "cuda: " in line["fallback"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut", "damaged or cut short"),
        ("empty", "empty"),
        ("text", "HTML"),
        ("missing", "nowhere.bin, which is not there"),
        ("shortfile", "wants 24 bytes of it, 10 are there"),
        ("outside", "weights outside its folder"),
        ("absolute", "weights outside its folder"),
        ("deep", "damaged"),
    ],
)
def test_seen_before_anything_is_loaded(daemon, graphs, name, words):
    """Refused when the daemon starts: no inference library ever opens such a file."""
    server = daemon(models={"bad": graphs / "bad" / f"{name}.onnx"}, wait=False)
    server.bad_end_expected = True
    assert server.wait_exit() != 0
    assert words in server.log_text()
    assert "onnxruntime" not in server.log_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("operator", "Frobnicate"),
        ("domain", "com.example"),
        ("opset", "9999"),
        ("cycle", "acyclic"),
        ("dangling", "nowhere"),
        ("types", "different types"),
        ("short", "20 bytes"),
    ],
)
def test_refused_by_the_worker(daemon, graphs, name, words):
    server = daemon(models={"bad": graphs / "bad" / f"{name}.onnx", "fake": "fake:"}, default_model="fake", **QUICK)
    server.expect_errors("bad")
    answer = load(server, "bad")
    assert answer.status == 500, answer
    assert words in answer.error()["message"]
    assert "onnxruntime_src" not in answer.error()["message"]
    assert server.chat("hi", model="fake").status == 200


def test_weights_that_left_after_the_start(daemon, graphs):
    """The worker finds what the daemon could not know any more."""
    server = daemon(models={"ext": graphs / "external.onnx", "fake": "fake:"}, default_model="fake", **QUICK)
    server.expect_errors("ext")
    os.unlink(graphs / "external.bin")
    answer = load(server, "ext")
    assert answer.status == 500, answer
    assert "external.bin" in answer.error()["message"]
    assert server.chat("hi", model="fake").status == 200


def test_a_worker_that_dies_with_a_variant_is_the_last_with_one(daemon, graphs, tmp_path):
    """Whatever it died of: the graph alone may load."""
    dying, been = tmp_path / "dying-worker", tmp_path / "been"
    dying.write_text(f'#!/bin/sh\n[ -e {been} ] || {{ : > {been}; kill -9 $$; }}\nexec {WORKER} "$@"\n')
    dying.chmod(0o755)
    settings = {"models": {"good": graphs / "variants" / "good" / "model.onnx"}, "preload": False, **QUICK}
    environment = {"ROUNDHOUSE_CPU_FEATURES": "+avx512_vnni"}
    server = daemon(worker=dying, environment=environment, **settings)
    answer = load(server, "good")
    assert answer.status == 200, answer
    (line,) = [entry for entry in server.log(level="warn") if "variant is left out" in entry["message"]]
    assert line["variant"].endswith("model_int8.onnx")
    assert [entry["graph"] for entry in server.log(message="an ONNX graph is loaded")] == ["model.onnx"]
    # Once loaded, the next worker gets it again.
    pid = server.worker_pids()[0]
    os.kill(pid, signal.SIGKILL)
    poll(lambda: len(server.log(message="an ONNX graph is loaded")) == 3, 30, "both graphs in another worker")
    assert [entry["graph"] for entry in server.log(message="an ONNX graph is loaded")][2] == "model_int8.onnx"


def test_no_library(daemon, graphs, tmp_path):
    """What is missing and how to get it."""
    server = daemon(
        models={"add": graphs / "add.onnx", "fake": "fake:"},
        default_model="fake",
        environment={"ROUNDHOUSE_ORT": str(tmp_path)},
        **QUICK,
    )
    server.expect_errors("ROUNDHOUSE_ORT")
    answer = load(server, "add")
    assert answer.status == 500, answer
    assert "ROUNDHOUSE_ORT" in answer.error()["message"]
    assert "holds no libonnxruntime.so" in answer.error()["message"]


def test_forced_device(daemon, graphs):
    server = daemon(
        models={"add": graphs / "add.onnx", "fake": "fake:"},
        default_model="fake",
        environment={"FORCE_DEVICE": "directml"},
        **QUICK,
    )
    server.expect_errors("add")
    answer = load(server, "add")
    assert answer.status == 400, answer
    assert "FORCE_DEVICE" in answer.error()["message"]
    assert "Windows" in answer.error()["message"]

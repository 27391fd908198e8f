# SPDX-License-Identifier: Apache-2.0
"""A graph's variant with int8 weights, through the whole server with a real model: when it is taken, what is said of it."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest

from harness.daemon import ROOT
from harness.wait import scaled

sys.path.insert(0, str(ROOT / "tests" / "tools"))

import make_bert_onnx  # noqa: E402

MINILM = ROOT / "deps" / "models" / "all-minilm-l6-v2"
CASES = json.loads((ROOT / "tests" / "e2e" / "data" / "minilm_reference.json").read_text(encoding="utf-8"))["cases"]
TEXTS = [case["text"] for case in CASES]
VNNI = {"ROUNDHOUSE_CPU_FEATURES": "+avx512_vnni"}
NO_VNNI = {"ROUNDHOUSE_CPU_FEATURES": "-avx512_vnni,-avx_vnni"}


def without_variant(source, target):
    """The same model folder once more."""
    shutil.copytree(source, target, copy_function=os.link)
    (target / "model_int8.onnx").unlink()
    return target


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """"good" has the variant that our script makes; in "spoiled" a weight of it is wrong; "plain" has none."""
    base = tmp_path_factory.mktemp("int8")
    good = base / "good"
    make_bert_onnx.make(MINILM, good)
    script = [sys.executable, str(ROOT / "scripts" / "quantize_onnx.py"), str(good), "--keep-embeddings", "--threads", "2"]
    made = subprocess.run(script, capture_output=True, text=True, timeout=scaled(120))
    assert made.returncode == 0, made.stdout + made.stderr
    assert "the least cosine is 0.99" in made.stdout
    assert (good / "model_int8.onnx").stat().st_size < (good / "model.onnx").stat().st_size
    spoiled = without_variant(good, base / "spoiled")
    graph = onnx.load(str(good / "model_int8.onnx"))
    scales = [w for w in graph.graph.initializer if w.name.endswith("_scale") and "layer.3." in w.name]
    assert scales
    for scale in scales:
        values = onnx.numpy_helper.to_array(scale)
        scale.CopyFrom(onnx.numpy_helper.from_array((values * 1.5).astype(np.float32), scale.name))
    onnx.save(graph, str(spoiled / "model_quantized.onnx"))
    without_variant(good, base / "plain")
    return base


def serve(daemon, folder, environment, **settings):
    model = {"path": str(folder), **settings}
    return daemon(models={}, config={"models": {"m": model}}, environment=environment, preload=False)


def embed(server):
    answer = server.post("/v1/embeddings", {"model": "m", "input": TEXTS}, timeout=scaled(60))
    assert answer.status == 200, answer
    body = answer.json()
    vectors = [item["embedding"] for item in body["data"]]
    return vectors, body["acceleration"]


def least_cosine(vectors):
    """To the reference, which is computed in double precision from the weights."""
    return min(float(np.dot(one, case["embedding"]) / np.linalg.norm(one)) for one, case in zip(vectors, CASES))


def verdicts(server):
    return [(line["message"], line["known"]) for line in server.log() if "int8 variant is " in line["message"] and "known" in line]


def test_taken_and_remembered(daemon, folders, tmp_path):
    environment = VNNI | {"ROUNDHOUSE_CACHE": str(tmp_path / "cache")}
    first = serve(daemon, folders / "good", environment)
    vectors, how = embed(first)
    assert how["engine"] == "onnx" and how["quantization"] == "int8 dynamic"
    assert "CPUExecutionProvider" in how["execution_provider"] and "int8 variant: cosine 0.99" in how["execution_provider"]
    assert 1 <= how["batch_size"] <= len(TEXTS)
    assert 0.98 < least_cosine(vectors) < 0.99999
    assert verdicts(first) == [("an int8 variant is taken", "now")]
    meta = first.post("/api/inference", {"model": "m", "inputs": TEXTS[:1]}).json()["meta"]
    assert meta["acceleration"]["quantization"] == "int8 dynamic" and meta["acceleration"]["batch_size"] == 1
    loads = first.log(message="an ONNX graph is loaded")
    assert [line["graph"] for line in loads] == ["model.onnx", "model_int8.onnx"]
    # Another process that finds the same cache reads only the one that is taken.
    second = serve(daemon, folders / "good", environment)
    again, how = embed(second)
    assert how["quantization"] == "int8 dynamic" and verdicts(second) == [("an int8 variant is taken", "remembered")]
    assert [line["graph"] for line in second.log(message="an ONNX graph is loaded")] == ["model_int8.onnx"]
    assert again == vectors


def test_a_spoiled_variant_is_refused(daemon, folders):
    server = serve(daemon, folders / "spoiled", VNNI)
    vectors, how = embed(server)
    assert how["quantization"] == "fp32"
    assert "model_quantized.onnx is not used: cosine 0." in how["fallback"] and "bound 0.99" in how["fallback"]
    assert least_cosine(vectors) > 0.9999
    assert verdicts(server) == [("an int8 variant is not taken", "now")]


def test_without_vnni_only_always_takes_it(daemon, folders):
    server = serve(daemon, folders / "good", NO_VNNI)
    _, how = embed(server)
    assert how["quantization"] == "fp32" and "int8" not in how.get("fallback", "")
    assert [line for line in server.log() if "this processor has no VNNI" in line["message"]]
    always = serve(daemon, folders / "good", NO_VNNI, onnx_int8="always")
    _, how = embed(always)
    assert how["quantization"] == "int8 dynamic"


def test_never_and_no_variant(daemon, folders):
    never = serve(daemon, folders / "good", VNNI, onnx_int8="never")
    assert embed(never)[1]["quantization"] == "fp32"
    plain = serve(daemon, folders / "plain", VNNI)
    vectors, how = embed(plain)
    assert how["quantization"] == "fp32" and least_cosine(vectors) > 0.9999
    assert verdicts(never) == [] and verdicts(plain) == []


def test_always_without_a_variant_says_so(daemon, folders):
    server = serve(daemon, folders / "plain", VNNI, onnx_int8="always")
    server.expect_errors("no int8 variant")
    answer = server.post("/v1/embeddings", {"model": "m", "input": "x"})
    assert answer.status >= 500 and "no int8 variant beside it" in answer.json()["error"]["message"]

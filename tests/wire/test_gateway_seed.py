# SPDX-License-Identifier: Apache-2.0
"""Configurations as other programs' users have them: accepted unchanged, routed as they say, and what they say of engines reaches
the workers."""

import copy
import json
import subprocess
import time

import pytest

from harness.daemon import ROOT, ROUNDHOUSE, clean_environment
from harness.upstream import Reply, Upstream
from harness.wait import scaled

WORKER = ROOT / "tests" / "tools" / "scripted_worker.py"

ROUTER = {
    "providers": {
        "onnx": {
            "models": {
                "default": "phi-3-mini-4k-cpu",
                "fast": "phi-3-mini-4k-cpu",
                "advanced": "phi-3-medium-128k-cpu",
                "gpu": "phi-3-mini-4k-gpu",
            },
            "executionProviders": ["cuda", "dml", "cpu"],
            "graphOptimizationLevel": "all",
            "enableMemoryOptimization": True,
            "threads": 4,
            "timeout": 60000,
        }
    },
    "routing": {
        "rules": [
            {
                "condition": {"privacy": "high", "localOnly": True},
                "action": {"provider": "onnx", "model": "phi-3-mini-4k-cpu"},
                "reason": "Privacy-sensitive tasks use local ONNX models",
            },
            {
                "condition": {"agentType": ["researcher"], "complexity": "low"},
                "action": {"provider": "onnx", "model": "phi-3-mini-4k-cpu"},
                "reason": "Simple tasks use free local inference",
            },
        ]
    },
}

CPU = {
    "version": "1.0",
    "defaultProvider": "onnx",
    "providers": {
        "onnx": {"models": {"default": "phi-3-mini-4k-cpu"}, "executionProviders": ["cpu"], "threads": 4}
    },
}

GPU = {
    "version": "1.0",
    "defaultProvider": "onnx",
    "providers": {
        "onnx": {
            "models": {"default": "phi-3-mini-4k-gpu"},
            "executionProviders": ["cuda", "cpu"],
            "cudaOptions": {"deviceId": 0, "gpuMemLimit": 4294967296, "arenExtendStrategy": "kSameAsRequested"},
        }
    },
}

HYBRID = {
    "version": "1.0",
    "defaultProvider": "anthropic",
    "fallbackChain": ["anthropic", "openrouter", "onnx"],
    "providers": {"anthropic": {}, "openrouter": {}, "onnx": {"models": {"default": "phi-3-mini-4k-cpu"}}},
    "routing": {
        "mode": "rule-based",
        "rules": [
            {"condition": {"privacy": "high"}, "action": {"provider": "onnx"}},
            {"condition": {"complexity": "low"}, "action": {"provider": "onnx"}},
            {"condition": {"complexity": "high"}, "action": {"provider": "anthropic"}},
        ],
    },
}

NAMES = ["phi-3-medium-128k-cpu", "phi-3-mini-4k-cpu", "phi-3-mini-4k-gpu"]
MODELS = {name: {"path": "fake:slots=2"} for name in NAMES}


def with_models(config, models=MODELS):
    return {**copy.deepcopy(config), "models": models}


def check(tmp_path, config):
    path = tmp_path / "roundhouse.json"
    path.write_text(json.dumps(config))
    return subprocess.run(
        [str(ROUNDHOUSE), "config", "check", "--config", str(path)],
        capture_output=True, text=True, env=clean_environment(tmp_path), timeout=scaled(20), check=False,
    )  # fmt: skip


def told(answer, provider, model):
    assert answer.status == 200, answer
    assert (answer.header("x-roundhouse-provider"), answer.header("x-roundhouse-model")) == (provider, model), answer
    assert (answer.json()["roundhouse"]["provider"], answer.json()["model"]) == (provider, model)
    return answer.header("x-roundhouse-route")


@pytest.mark.parametrize("config", [ROUTER, CPU, GPU, HYBRID], ids=["router", "cpu", "gpu", "hybrid"])
def test_accepted_unchanged(tmp_path, config):
    result = check(tmp_path, config)
    assert result.returncode == 0, result.stderr


def test_router_rules(daemon):
    server = daemon(models={}, config=with_models(ROUTER))
    reason = told(server.chat("hi", privacy="high"), "local", "phi-3-mini-4k-cpu")
    assert "Privacy-sensitive tasks use local ONNX models" in reason
    reason = told(server.chat("hi", agent_type="researcher", complexity="low"), "local", "phi-3-mini-4k-cpu")
    assert "Simple tasks use free local inference" in reason
    assert "Simple tasks" not in told(server.chat("hi", complexity="low"), "local", "phi-3-mini-4k-cpu")
    # The provider's words are names, and so are its models.
    told(server.chat("hi", model="onnx/advanced"), "local", "phi-3-medium-128k-cpu")
    told(server.chat("hi", model="onnx/phi-3-mini-4k-gpu"), "local", "phi-3-mini-4k-gpu")
    told(server.chat("hi", model="phi-3-mini-4k-gpu"), "local", "phi-3-mini-4k-gpu")


@pytest.mark.parametrize("config, model", [(CPU, "phi-3-mini-4k-cpu"), (GPU, "phi-3-mini-4k-gpu")], ids=["cpu", "gpu"])
def test_default_provider(daemon, config, model):
    server = daemon(models={}, config=with_models(config))
    told(server.chat("hi"), "local", model)
    told(server.chat("hi", model="auto"), "local", model)
    told(server.chat("hi", model="onnx/default"), "local", model)


@pytest.fixture
def hybrid(daemon, upstream):
    second = Upstream()
    config = with_models(HYBRID)
    config["providers"]["anthropic"] = {
        "baseUrl": upstream.url, "apiKey": "one", "local": False, "maxRetries": 0, "models": {"default": "claude-x"}
    }  # fmt: skip
    config["providers"]["openrouter"] = {
        "baseUrl": second.url, "apiKey": "two", "local": False, "maxRetries": 0, "models": {"default": "vendor/y"}
    }  # fmt: skip
    yield daemon(models={}, config=config), upstream, second
    second.stop()


def test_hybrid(hybrid):
    server, first, second = hybrid
    told(server.chat("hi", privacy="high"), "local", "phi-3-mini-4k-cpu")
    told(server.chat("hi", complexity="low"), "local", "phi-3-mini-4k-cpu")
    assert first.connections == second.connections == 0
    told(server.chat("hi", complexity="high"), "anthropic", "claude-x")
    told(server.chat("hi", complexity="medium"), "anthropic", "claude-x")
    assert [seen.protocol for seen in first.requests] == ["anthropic", "anthropic"]
    assert first.requests[0].key == "one"
    first.then(Reply(status=500))
    told(server.chat("hi", complexity="high"), "openrouter", "vendor/y")
    assert second.requests[0].protocol == "chat" and second.requests[0].key == "two"
    first.then(Reply(status=500))
    second.then(Reply(status=503))
    reason = told(server.chat("hi", complexity="high"), "local", "phi-3-mini-4k-cpu")
    assert "openrouter/vendor/y failed" in reason


def test_hybrid_without_any_key(daemon):
    """Keys that are not there leave those providers out; the machine's own model answers."""
    server = daemon(models={}, config=with_models(HYBRID))
    told(server.chat("hi", complexity="high"), "local", "phi-3-mini-4k-cpu")


# --- what is said of engines ---


def load_of(server, model):
    answer = server.chat(json.dumps([{"event": "load"}]), model=model)
    assert answer.status == 200, answer
    load = json.loads(answer.json()["choices"][0]["message"]["content"])
    return load["options"] if "options" in load else load


def loads(daemon, config, models=MODELS, **settings):
    return daemon(models={}, config=with_models(config, models), worker=str(WORKER), **settings)


def test_engine_options_of_the_router(daemon):
    server = loads(daemon, ROUTER)
    for name in NAMES:
        load = load_of(server, name)
        assert load["threads"] == 4
        assert "device" not in load.get("onnx", {})  # a list that ends with the processor is the usual choice


def test_engine_options_of_the_processor(daemon):
    load = load_of(loads(daemon, CPU), "phi-3-mini-4k-cpu")
    assert (load["threads"], load["gpu_layers"], load["onnx"]["device"]) == (4, 0, 1)


def test_engine_options_of_the_gpu(daemon):
    server = loads(daemon, GPU)
    load = load_of(server, "phi-3-mini-4k-gpu")
    assert (load["onnx"]["gpu_memory"], load["onnx"]["exact_growth"]) == (4294967296, 1)
    # Not this provider's model, nor of its engine.
    assert "onnx" not in load_of(server, "phi-3-mini-4k-cpu")


def test_a_model_says_otherwise(daemon):
    config = {
        "providers": {
            "onnx": {
                "models": {"default": "a", "other": "b"},
                "executionProviders": ["CUDAExecutionProvider"],
                "graphOptimizationLevel": "basic",
                "enableMemoryOptimization": False,
                "executionMode": "parallel",
                "interOpNumThreads": 2,
                "cudaOptions": {"deviceId": 3},
                "threads": 4,
            }
        }
    }
    models = {
        "a": {"path": "fake:"},
        "b": {"path": "fake:", "threads": 7, "onnx_optimization": "extended", "onnx_arena": "on", "onnx_device": "cpu"},
    }
    server = loads(daemon, config, models, threads=2)
    a, b = load_of(server, "a"), load_of(server, "b")
    assert a["threads"] == 4
    assert a["onnx"] == {
        "device": 3, "optimization": 2, "no_arena": 1, "no_memory_pattern": 1, "parallel": 1, "inter_threads": 2,
        "device_id": 3,
    }  # fmt: skip
    assert (b["threads"], b["onnx"]["device"], b["onnx"]["optimization"]) == (7, 1, 1)
    assert "no_arena" not in b["onnx"] and b["onnx"]["no_memory_pattern"] == 1


def test_models_that_no_provider_lists(daemon):
    """Those of its engine are meant too; "local" is all engines."""
    server = loads(daemon, {"providers": {"local": {"threads": 3}}}, {"a": {"path": "fake:"}}, threads=2)
    assert load_of(server, "a")["threads"] == 3
    server = loads(daemon, {"providers": {"onnx": {"threads": 3}}}, {"a": {"path": "fake:"}}, threads=2)
    assert load_of(server, "a")["threads"] == 2


def test_timeout_of_own_models(daemon, upstream):
    config = {
        "providers": {
            "onnx": {"models": {"default": "slow"}, "timeout": 300},
            "up": {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "m"}},
        },
        "fallbackChain": ["onnx", "up"],
        "routing": {"mode": "rule-based"},
        "models": {"slow": {"path": "fake:first_delay_ms=60000"}},
    }
    server = daemon(models={}, config=config, preload=True, default_model="slow")
    begun = time.monotonic()
    answer = server.chat("hi")
    assert time.monotonic() - begun < scaled(20)
    assert "local/slow failed" in told(answer, "up", "m")
    assert server.chat("hi", model="slow").status == 504


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"executionProviders": ["cudo", "cpu"]}, ["providers.onnx.executionProviders", "did you mean \"cuda\""]),
        ({"executionProviders": "cuda"}, ["providers.onnx.executionProviders", "list"]),
        ({"threads": -1}, ["providers.onnx.threads", "from 0 to 1024"]),
        ({"threads": "4"}, ["providers.onnx.threads", "whole number"]),
        ({"graphOptimizationLevel": "most"}, ["providers.onnx.graphOptimizationLevel", "extended"]),
        ({"enableMemoryOptimization": "yes"}, ["providers.onnx.enableMemoryOptimization", "true or false"]),
        ({"cudaOptions": {"deviceID": 0}}, ["providers.onnx.cudaOptions.deviceID", "did you mean \"deviceId\""]),
        ({"cudaOptions": {"arenExtendStrategy": "k"}}, ["arenExtendStrategy", "kSameAsRequested"]),
        ({"threds": 4}, ["threds", "did you mean \"threads\""]),
    ],
)
def test_wrong_engine_options_are_told(tmp_path, entry, words):
    result = check(tmp_path, {"providers": {"onnx": {"models": {"default": "x"}, **entry}}})
    assert result.returncode != 0
    for word in words:
        assert word in result.stderr, result.stderr

# SPDX-License-Identifier: Apache-2.0
"""Our matrix kernels in the GGUF worker: which are in use, what they answer, what they take."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.daemon import ROUNDHOUSE, clean_environment
from harness.procs import rss_bytes
from harness.wait import scaled

WORKER = Path(ROUNDHOUSE).with_name("roundhouse-worker")
REFERENCE = json.loads(Path(__file__).with_name("reference").joinpath("greedy.json").read_text(encoding="utf-8"))


def probed(folder, **environment):
    """What the worker says of its GGUF engine."""
    done = subprocess.run(
        [WORKER, "--probe"],
        capture_output=True,
        text=True,
        check=True,
        timeout=scaled(60),
        env=clean_environment(folder, **environment),
    )
    engines = {engine["engine"]: engine for engine in json.loads(done.stdout)["engines"]}
    return engines["llama"], done.stderr


def has_avx2():
    return " avx2 " in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def test_the_best_set_is_chosen(tmp_path):
    llama, _ = probed(tmp_path)
    if has_avx2():
        assert llama["kernels"].split(" ")[0] in ("avx2", "avxvnni", "avx512", "avx512bf16")
    else:
        assert llama["kernels"].startswith("stock (")
    assert llama["acceleration"].startswith("kernels " + llama["kernels"].split(" ")[0] + ", ")


@pytest.mark.parametrize("wish", ["stock", "portable"])
def test_a_set_can_be_forced(tmp_path, wish):
    llama, _ = probed(tmp_path, ROUNDHOUSE_KERNELS=wish)
    assert llama["kernels"].startswith(f"{wish} (")
    assert "ROUNDHOUSE_KERNELS" in llama["kernels"]


def test_an_unknown_set_means_stock_and_a_warning(tmp_path):
    llama, log = probed(tmp_path, ROUNDHOUSE_KERNELS="avx1024")
    assert llama["kernels"].startswith("stock (") and "avx1024" in llama["kernels"]
    assert llama["available"]
    assert log.count("llama.cpp's own kernels are used") == 1


def test_info_names_the_kernels(tmp_path):
    environment = clean_environment(tmp_path, ROUNDHOUSE_KERNELS="portable")
    done = subprocess.run(
        [ROUNDHOUSE, "info"], capture_output=True, text=True, check=True, timeout=scaled(60), env=environment
    )
    assert "llama: kernels: portable (" in done.stdout


@pytest.mark.parametrize("wish", ["stock", "portable", "avx2"])
def test_each_set_gives_the_reference_text(daemon, smollm2, wish):
    """The reference's choices are clear ones, so other roundings must not change them."""
    if wish == "avx2" and not has_avx2():
        pytest.skip("this processor has no AVX2")
    server = daemon(models={"smollm2": smollm2}, environment={"ROUNDHOUSE_KERNELS": wish}, context=512, slots=2)
    case = next(case for case in REFERENCE["cases"] if case["kind"] == "chat")
    answer = server.post(
        "/v1/chat/completions",
        {"model": "smollm2", "messages": case["messages"], "temperature": 0, "max_tokens": 6},
    )
    assert answer.status == 200
    text = answer.json()["choices"][0]["message"]["content"]
    assert text and case["text"].startswith(text)
    assert server.get("/last_request_stats").json()["acceleration"].startswith(f"kernels {wish}, ")


def test_packed_weights_stand_in_memory_once(daemon, smollm2):
    resident = {}
    for wish in ("stock", ""):
        environment = {"ROUNDHOUSE_KERNELS": wish} if wish else {}
        server = daemon(models={"smollm2": smollm2}, environment=environment, context=512, slots=2)
        assert server.chat("hi", max_tokens=2).status == 200
        resident[wish] = rss_bytes(server.worker_pid())
        server.stop()
    assert resident[""] < 1.1 * resident["stock"]

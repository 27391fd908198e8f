# SPDX-License-Identifier: Apache-2.0
"""Changing models: ours against llama-server's router mode, on the same files, with room for one model at a time."""

import http.client
import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from servers import LlamaRouter, Roundhouse

SLOTS = 4
CONTEXT = 2048
NAMES = ("one", "two")


def median(values):
    return statistics.median(values) if values else None


def prepare(setup):
    """A folder with the two files: the model and its Q8_0, so that both sizes and kernels differ as between real models."""
    folder = setup.build / "bench" / "swap"
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        file = folder / f"{name}.gguf"
        if file.exists():
            continue
        if name == "one":
            shutil.copyfile(setup.model, file)
        else:
            converter = setup.roundhouse.with_name("roundhouse-convert")
            command = [converter, "quantize", setup.model, file, "q8_0", "--requantize"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def read_through(path):
    """Into the page cache."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def forget(path):
    """Out of the page cache; possible only while nobody has it mapped."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def call(server, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{server.name}: {method} {path}: {answer.status} {data[:500]}")
        return data
    finally:
        connection.close()


def ask(server, model):
    """Seconds until a one-token answer of `model` is complete."""
    body = {"model": model, "prompt": "The house of", "max_tokens": 1, "temperature": 0}
    began = time.monotonic()
    answer = json.loads(call(server, "POST", "/v1/completions", body))
    took = time.monotonic() - began
    if answer["usage"]["completion_tokens"] != 1:
        raise SystemExit(f"{server.name}: {answer}")
    return took


def unload(server, model):
    if server.name == "roundhouse":
        call(server, "POST", "/api/models/unload", {"model": model})
        return
    call(server, "POST", "/models/unload", {"model": model})

    def gone():
        listed = json.loads(call(server, "GET", "/models"))["data"]
        return all(entry["status"]["value"] == "unloaded" for entry in listed if entry["id"] == model)

    server.wait_until(gone, "unloading")


def sides(setup, folder):
    ours = Roundhouse(
        setup.roundhouse,
        {name: folder / f"{name}.gguf" for name in NAMES},
        threads=setup.threads, slots=SLOTS, context=CONTEXT, max_loaded_models=1, preload=False, keep_alive="forever",
    )  # fmt: skip
    if setup.llama_server is None:
        return [ours]
    return [ours, LlamaRouter(setup.llama_server, folder, setup.threads, SLOTS, CONTEXT)]


def measure_round(server, folder, swaps):
    """One round with one server; the other one is idle and holds nothing."""
    for name in NAMES:
        read_through(folder / f"{name}.gguf")
        ask(server, name)
    taken = {"swap": [ask(server, NAMES[index % 2]) for index in range(swaps)]}
    last = NAMES[(swaps - 1) % 2]
    taken["loaded"] = [ask(server, last) for _ in range(3)]
    unload(server, last)
    taken["after_eviction"] = [ask(server, last)]
    unload(server, last)
    for name in NAMES:
        forget(folder / f"{name}.gguf")
    taken["cold"] = [ask(server, last)]
    unload(server, last)
    return taken


def swap(setup):
    """(e) Alternating between two models when one fits; the first request after an eviction; a load from disk."""
    rounds, swaps = (1, 4) if setup.quick else (5, 10)
    folder = prepare(setup)
    servers = sides(setup, Path(folder))
    raw = {server.name: [] for server in servers}
    for server in servers:
        server.spawn()
    try:
        for server in servers:
            server.wait_ready()
        for round_number in range(rounds):
            for server in servers:
                raw[server.name].append(measure_round(server, folder, swaps))
                setup.say(f"  {server.name}, round {round_number + 1} of {rounds}")
    finally:
        for server in servers:
            server.__exit__()
    return {"rounds": rounds, "rows": rows_of(raw), "raw": raw}


def rows_of(raw):
    rows = []
    for what in ("swap", "after_eviction", "cold", "loaded"):
        ours = [median(taken[what]) for taken in raw["roundhouse"]]
        row = {"what": what, "ours_ms": 1000 * median(ours)}
        if "llama-server" in raw:
            theirs = [median(taken[what]) for taken in raw["llama-server"]]
            row["theirs_ms"] = 1000 * median(theirs)
            row["ratio"] = median([a / b for a, b in zip(ours, theirs)])
        rows.append(row)
    return rows

# SPDX-License-Identifier: Apache-2.0
"""More models than memory: whatever is asked for, in whatever order, every request is answered, and what all workers
really have in memory never exceeds the budget.

The fake engine's models take real memory, so that the system's own numbers can be believed. Without sanitizers the
broker's own estimates and measurements are what counts; a sanitizer makes a worker several times as large as anybody
could expect, so there the configuration says how large (as a person may).
"""

import os
import random
import re
import signal
import threading
import time

import pytest

from harness import procs
from harness.http import Closed
from harness.memory import Watch, resident, workers
from harness.wait import SCALE, poll, roomy, scaled

pytestmark = pytest.mark.first

MIB = 1024 * 1024
NAMES = [f"m{number:02}" for number in range(12)]
SANITIZED = SCALE != 1
LONG_S = 15 if SANITIZED else 120
SHORT_S = 10 if SANITIZED else 25
CLIENTS = 8
SEED = int(os.environ.get("RH_TEST_SEED", "1"))
QUICK = {"preload": False, "backoff_min": "20ms", "backoff_max": "200ms", "load_wait": f"{scaled(60):.0f}s"}


def weigh(daemon, path):
    """What a worker of this build comes to with this model."""
    server = daemon(models={"one": path}, preload=False)
    assert server.post("/api/models/load", {"model": "one"}).status == 200
    assert server.chat("hi [[tokens=4]]").status == 200
    size = resident(server.worker_pid())
    assert server.stop() == 0
    return size


def twelve(daemon, sizes, room_for):
    """Twelve models of these MiB, and the budget that holds `room_for` of the largest, and not one more."""
    largest = f"fake:memory={max(sizes)}MiB"
    weight = weigh(daemon, largest)
    assert weight > max(sizes) * MIB, "the fake engine's memory is not in the worker's resident set"
    process = weight - max(sizes) * MIB
    entries = {}
    for number, name in enumerate(NAMES):
        size = sizes[number % len(sizes)]
        entries[name] = {"path": f"fake:slots=2,memory={size}MiB,load_delay_ms={number % 4 * 15}"}
        if SANITIZED:
            entries[name]["memory"] = f"{size + process * 5 // 4 // MIB + 8}MiB"
    each = max(sizes) * MIB + (process * 5 // 4 + 8 * MIB if SANITIZED else 16 * MIB)
    return {"models": entries}, room_for * each + each // 4


class Client(threading.Thread):
    """Asks one model after another, as a seed says."""

    def __init__(self, server, number, until, streaming=True):
        super().__init__(daemon=True)
        self.server = server
        self.random = random.Random(SEED * 1000 + number)
        self.until = until
        self.streaming = streaming
        self.answered = 0
        self.failures = []  # (model, begun, ended, what came)
        self.slowest = 0.0

    def run(self):
        while time.monotonic() < self.until:
            model = self.random.choice(NAMES)
            tokens = self.random.randint(1, 12)
            text = f"[[tokens={tokens} delay_ms={self.random.choice((0, 0, 2, 10))}]]"
            stream = self.streaming and self.random.random() < 0.4
            began = time.monotonic()
            try:
                problem = (self.ask_stream if stream else self.ask)(model, text, tokens)
            except (OSError, Closed, AssertionError) as error:
                problem = repr(error)
            ended = time.monotonic()
            self.slowest = max(self.slowest, ended - began)
            if problem is None:
                self.answered += 1
            else:
                self.failures.append((model, began, ended, problem))

    def ask(self, model, text, tokens):
        answer = self.server.chat(text, model=model, max_tokens=64, wait=90)
        if answer.status != 200:
            return repr(answer)
        body = answer.json()
        right = body["model"] == model and body["usage"]["completion_tokens"] == tokens
        return None if right else repr(answer)

    def ask_stream(self, model, text, tokens):
        with self.server.chat_stream(text, model=model, max_tokens=64) as stream:
            events = list(stream)
        texts = [event for event in events if '"content":"' in event.data and '"content":""' not in event.data]
        whole = events[-1].data == "[DONE]" and not any('"error"' in event.data for event in events)
        return None if whole and len(texts) >= 1 else repr(events[-3:])


def storm(server, seconds, **options):
    until = time.monotonic() + seconds
    clients = [Client(server, number, until, **options) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    return clients


def join(clients, seconds):
    deadline = time.monotonic() + seconds + scaled(90)
    for client in clients:
        client.join(max(0.0, deadline - time.monotonic()))
        assert not client.is_alive(), "a request was never answered"


def tell(what, clients, watch, server):
    count = server.metric("roundhouse_model_evictions_total", reason="memory")
    line = (
        f"{what}: {sum(client.answered for client in clients)} answered, "
        f"{sum(len(client.failures) for client in clients)} failed, slowest "
        f"{max(client.slowest for client in clients):.2f} s, {count:.0f} evictions; {watch}"
    )
    print(line)
    return count


def settle(server):
    """Everything goes: no process and no memory is left."""
    server.wait_idle(30)
    pids = workers(server.pid)
    for name in NAMES:
        assert server.post("/api/models/unload", {"model": name}).status == 200
    assert not any(procs.alive(pid) for pid in pids)
    assert workers(server.pid) == []
    assert server.metric("roundhouse_memory_reserved_bytes") == 0
    assert server.metric("roundhouse_worker_resident_memory_bytes") == 0


@pytest.mark.timeout(LONG_S + 180 * SCALE)
def test_twelve_models_and_room_for_three(daemon):
    config, budget = twelve(daemon, [64], 3)
    server = daemon(models={}, config=config, memory_budget=budget, **QUICK)
    with Watch(server, budget) as watch:
        clients = storm(server, LONG_S)
        clients[0].join(LONG_S / 4)
        before = server.rss()  # every model was in memory by now
        join(clients, LONG_S)
        evictions = tell("twelve models", clients, watch, server)
        server.wait_idle(30)
        loaded = [model for model in server.get("/api/models").json()["models"] if model["state"] == "ready"]
        left = workers(server.pid)
    failures = [failure for client in clients for failure in client.failures]
    assert failures == [], failures[:5]
    assert watch.over == [], f"above the budget of {budget}: {watch.over}"
    # It was watched, it was full, and it was busy: three at once and never a fourth, and many changes.
    assert watch.looks > LONG_S * 5 / SCALE
    assert watch.most == 3
    assert watch.peak > 3 * 64 * MIB
    assert evictions >= LONG_S
    assert all(client.answered > LONG_S / SCALE for client in clients)
    # Whoever was evicted is gone, as a process and with all its memory.
    assert sorted(model["pid"] for model in loaded) == sorted(left)
    assert [pid for pid in watch.seen if procs.alive(pid) and pid not in left] == []
    assert len(watch.seen) > evictions / 2
    settle(server)
    assert server.rss() - before < roomy(4 * MIB), "the daemon itself grows"


@pytest.mark.timeout(SHORT_S + 180 * SCALE)
def test_models_of_many_sizes(daemon):
    """Large ones are not starved by small ones, and small ones fill what is left."""
    config, budget = twelve(daemon, [16, 32, 48, 96], 2)
    server = daemon(models={}, config=config, memory_budget=budget, load_patience="200ms", **QUICK)
    with Watch(server, budget) as watch:
        clients = storm(server, SHORT_S)
        join(clients, SHORT_S)
        evictions = tell("many sizes", clients, watch, server)
    failures = [failure for client in clients for failure in client.failures]
    assert failures == [], failures[:5]
    assert watch.over == [], f"above the budget of {budget}: {watch.over}"
    assert watch.most > 2 and evictions > SHORT_S / 2
    settle(server)


# --- and workers die ---


class Killer(threading.Thread):
    def __init__(self, server, until, pause):
        super().__init__(daemon=True)
        self.server = server
        self.until = until
        self.pause = pause
        self.random = random.Random(SEED)
        self.kills = []  # (when, pid)
        self.stopping = threading.Event()

    def run(self):
        while time.monotonic() < self.until:
            time.sleep(self.random.uniform(0.2, 1.8) * self.pause)
            pids = workers(self.server.pid)
            if not pids:
                continue
            pid = self.random.choice(pids)
            try:
                # Before the signal: whatever comes of it happens later.
                self.kills.append((time.monotonic(), pid))
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                self.kills.pop()


class Deaths:
    """Who was killed when, which model that was, and whether it had come so far as to serve."""

    def __init__(self, server, kills):
        self.killed = {pid: when for when, pid in kills}
        self.kills = kills
        self.started = [(entry["pid"], entry["model"]) for entry in server.log(message="worker started")]
        self.models = dict(self.started)
        self.ready = {entry["pid"] for entry in server.log(message="model ready")}

    def in_time(self, model, began, ended):
        return [pid for when, pid in self.kills if self.models[pid] == model and began - 0.05 <= when <= ended]

    def while_loading(self, model, pid):
        """This worker of the model and the one before it, as far as they were killed before they were ready."""
        own = [one for one, name in self.started if name == model]
        last = own[max(0, own.index(pid) - 1) : own.index(pid) + 1]
        return [one for one in last if one in self.killed and one not in self.ready]


@pytest.mark.timeout(SHORT_S + 240 * SCALE)
def test_workers_killed_at_random(daemon):
    """A request whose worker dies is run again once; a load that dies is tried again once. So a request may fail only
    when two workers were killed under it, or when two loads in a row were (then the model is refused for a moment)."""
    config, budget = twelve(daemon, [32], 3)
    server = daemon(models={}, config=config, memory_budget=budget, **QUICK)
    server.expect_errors("SIGKILL|signal 9")
    killer = Killer(server, time.monotonic() + SHORT_S, 0.25 * SCALE)
    with Watch(server, budget) as watch:
        clients = storm(server, SHORT_S, streaming=False)
        killer.start()
        join(clients, SHORT_S)
        killer.join()
        tell(f"{len(killer.kills)} workers killed", clients, watch, server)
    assert len(killer.kills) > SHORT_S / SCALE
    deaths = Deaths(server, killer.kills)
    for model, began, ended, problem in (failure for client in clients for failure in client.failures):
        pid = re.search(r"\(pid (\d+)\)", problem)
        assert pid is not None, problem
        if "while loading" in problem:
            found = deaths.while_loading(model, int(pid.group(1)))
        else:
            found = deaths.in_time(model, began, ended)
        assert len(found) >= 2, f"{model} failed though of its workers only {found} were killed: {problem}"
    assert watch.over == [], f"above the budget of {budget}: {watch.over}"
    # Every model serves as before.
    poll(lambda: all(server.chat("hi [[tokens=1]]", model=name).status == 200 for name in NAMES), 30, "all models")
    settle(server)

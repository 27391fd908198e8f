# SPDX-License-Identifier: Apache-2.0
"""More models than memory, with the real engine: one file under twelve names, and room for three. What the broker expects
of a model is its own estimate from the file; what it is held to is what the system says the workers have."""

import random
import threading
import time

import pytest

from harness import procs
from harness.http import Closed
from harness.memory import Watch, resident, workers

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
NAMES = [f"m{number:02}" for number in range(12)]
SECONDS = 40
CLIENTS = 4


def need_of(server):
    return server.post("/api/models/load", {"model": "m00", "plan": True}).json()["need"]["ram_bytes"]


class Client(threading.Thread):
    def __init__(self, server, number, until):
        super().__init__(daemon=True)
        self.server = server
        self.random = random.Random(number)
        self.until = until
        self.answered = 0
        self.failures = []
        self.slowest = 0.0

    def run(self):
        while time.monotonic() < self.until:
            model = self.random.choice(NAMES)
            began = time.monotonic()
            try:
                answer = self.server.chat(
                    "Say something.", model=model, max_tokens=self.random.randint(1, 8), wait=120, seed=1
                )
                right = answer.status == 200 and answer.json()["model"] == model
                problem = None if right else repr(answer)
            except (OSError, Closed, AssertionError) as error:
                problem = repr(error)
            self.slowest = max(self.slowest, time.monotonic() - began)
            if problem is None:
                self.answered += 1
            else:
                self.failures.append((model, problem))


@pytest.mark.timeout(SECONDS + 200)
def test_twelve_models_and_room_for_three(daemon, smollm2):
    models = {name: {"path": smollm2} for name in NAMES}
    settings = {"config": {"models": models}, "context": 512, "slots": 2, "preload": False}
    probe = daemon(models={}, **settings)
    budget = need_of(probe) * 7 // 2
    assert probe.stop() == 0
    server = daemon(models={}, memory_budget=budget, load_wait="120s", **settings)
    until = time.monotonic() + SECONDS
    clients = [Client(server, number, until) for number in range(CLIENTS)]
    with Watch(server, budget) as watch:
        for client in clients:
            client.start()
        for client in clients:
            client.join(SECONDS + 120)
            assert not client.is_alive(), "a request was never answered"
        server.wait_idle(30)
        left = workers(server.pid)
    evictions = server.metric("roundhouse_model_evictions_total", reason="memory")
    answered = sum(client.answered for client in clients)
    slowest = max(client.slowest for client in clients)
    print(f"{answered} answered, slowest {slowest:.2f} s, {evictions:.0f} evictions; {watch}")
    failures = [failure for client in clients for failure in client.failures]
    assert failures == [], failures[:5]
    assert watch.over == [], f"above the budget of {budget}: {watch.over}"
    assert watch.most == 3 and evictions > 10 and answered > 20
    assert [pid for pid in watch.seen if procs.alive(pid) and pid not in left] == []
    # Evicted one by one, each gives back what it had.
    together = sum(resident(pid) for pid in left)
    for name in NAMES:
        assert server.post("/api/models/unload", {"model": name}).status == 200
    assert together > 3 * 100 * MIB
    assert workers(server.pid) == []
    assert server.metric("roundhouse_worker_resident_memory_bytes") == 0

# SPDX-License-Identifier: Apache-2.0
"""An alias moves between models while requests come at a fixed rate: none fails, and each is answered by a model that
was meant when it came."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import procs
from harness.http import Closed
from harness.memory import Watch, workers
from harness.wait import SCALE, poll, scaled

MIB = 1024 * 1024
SANITIZED = SCALE != 1
RATE = 10 if SANITIZED else 50  # requests a second
SWAPPING_S = 6 if SANITIZED else 20
QUICK = {"preload": False, "backoff_min": "20ms", "backoff_max": "200ms"}
V1 = "fake:slots=8,load_delay_ms=80"
V2 = "fake:slots=8,load_delay_ms=150"


def status(server, name):
    return server.get(f"/api/models/status/{name}").json()


def move(server, model, **fields):
    return server.post("/api/models/alias", {"alias": "chat", "model": model, **fields}, timeout=60)


def cold(server, name):
    return status(server, name)["state"] == "cold"


class Answer:
    def __init__(self, began):
        self.began = began
        self.ended = None
        self.model = None
        self.problem = None


class Load:
    """Requests for the alias at a fixed rate, whether those before are answered or not; every third is streamed."""

    def __init__(self, server, rate=RATE):
        self.server = server
        self.rate = rate
        self.answers = []
        self.stopping = threading.Event()
        self.pool = ThreadPoolExecutor(128)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.pool.shutdown(wait=True)

    def run(self):
        number = 0
        while not self.stopping.wait(max(0.0, self.began + number / self.rate - time.monotonic())):
            answer = Answer(time.monotonic())
            self.answers.append(answer)
            self.pool.submit(self.ask, answer, number)
            number += 1

    def ask(self, answer, number):
        tokens = 1 + number % 8
        answer.began = time.monotonic()
        try:
            if number % 3 == 0:
                self.stream(answer, tokens)
            else:
                self.whole(answer, tokens)
        except (OSError, Closed, AssertionError, KeyError, ValueError) as error:
            answer.problem = repr(error)
        answer.ended = time.monotonic()

    def whole(self, answer, tokens):
        got = self.server.chat(f"[[tokens={tokens} delay_ms=5]]", model="chat", wait=60)
        answer.model = got.json()["model"] if got.status == 200 else None
        if got.status != 200 or got.json()["usage"]["completion_tokens"] != tokens:
            answer.problem = repr(got)

    def stream(self, answer, tokens):
        with self.server.chat_stream(f"[[tokens={tokens * 4} delay_ms=5]]", model="chat") as stream:
            events = list(stream)
        if events[-1].data != "[DONE]" or any('"error"' in event.data for event in events):
            answer.problem = repr(events[-2:])
            return
        answer.model = json.loads(events[0].data)["model"]

    def wait_for(self, count):
        """So many requests that begin from now on were answered: those that waited for a swap do not count."""
        now = time.monotonic()
        poll(lambda: self.done(now) >= count, 30, f"{count} answers")

    def done(self, since):
        return sum(1 for answer in list(self.answers) if answer.ended is not None and answer.began >= since)

    def judge(self):
        problems = [answer.problem for answer in self.answers if answer.problem is not None]
        assert problems == [], f"{len(problems)} of {len(self.answers)} failed: {problems[:3]}"
        assert all(answer.ended is not None for answer in self.answers)

    def models(self, began=0.0, ended=float("inf")):
        """Who answered what was asked and answered between two moments."""
        over = [one for one in list(self.answers) if one.ended is not None]
        return {one.model for one in over if one.began >= began and one.ended <= ended}

    def told(self, what):
        times = sorted(answer.ended - answer.began for answer in self.answers)
        took = max(answer.ended for answer in self.answers) - self.began
        return (
            f"{what}: {len(times)} requests in {took:.1f} s, median {times[len(times) // 2] * 1000:.0f} ms, "
            f"slowest {times[-1] * 1000:.0f} ms"
        )


def start(daemon, models, **settings):
    """A daemon whose alias `chat` means v1, which is in memory by use of the alias (not by its own name)."""
    server = daemon(models=models, **QUICK, **settings)
    assert move(server, "v1").status == 200
    assert server.chat("hi", model="chat").status == 200
    return server


# --- to and fro ---


def test_swapping_under_load(daemon):
    server = start(daemon, {"v1": V1, "v2": V2})
    swaps = []  # (model, asked, done)
    with Load(server) as load:
        load.wait_for(RATE // 2)
        until = time.monotonic() + SWAPPING_S
        while time.monotonic() < until:
            new, old = ("v2", "v1") if len(swaps) % 2 == 0 else ("v1", "v2")
            pid = status(server, old)["pid"]
            asked = time.monotonic()
            answer = move(server, new)
            swaps.append((new, asked, time.monotonic()))
            assert answer.status == 200 and answer.json()["model"] == new, answer
            poll(lambda old=old: cold(server, old), 20, "the old model's end")
            assert not procs.alive(pid)
            load.wait_for(RATE // 10 + 1)
    load.judge()
    print(load.told(f"{len(swaps)} swaps"))
    assert len(load.answers) >= SWAPPING_S * RATE * 0.9, "the requests did not come at their rate"
    assert len(swaps) >= (2 if SANITIZED else 15)
    assert load.models() == {"v1", "v2"}
    # Between the end of a swap and the beginning of the next only the new one answers.
    compared = 0
    for (model, _, done), (_, asked, _) in zip(swaps, swaps[1:]):
        found = load.models(done, asked)
        assert found <= {model}, f"{found} answered while the alias meant {model}"
        compared += bool(found)
    assert compared >= len(swaps) // 2
    assert server.metric("roundhouse_swaps_total", result="ok") == len(swaps)
    assert len(server.worker_pids()) == 1


def test_the_old_one_serves_until_the_new_one_is_ready(daemon):
    server = start(daemon, {"v1": V1, "v2": "fake:slots=8,load_delay_ms=1000"})
    with Load(server) as load:
        load.wait_for(RATE // 4 + 1)
        asked = time.monotonic()
        assert move(server, "v2").status == 200
        done = time.monotonic()
        load.wait_for(RATE // 4 + 1)
    load.judge()
    assert done - asked > 0.9, "v2 was not loaded: there was nothing to wait for"
    assert load.models(asked, done - 0.2) == {"v1"}
    assert load.models(done) == {"v2"}
    during = [one.ended - one.began for one in load.answers if asked <= one.began and one.ended <= done - 0.2]
    assert len(during) > RATE // 4
    # Nobody waited for the load.
    assert max(during) < scaled(0.7), f"a request took {max(during):.2f} s while v2 was loaded"


# --- to what does not load, and back ---


@pytest.mark.parametrize("bad,reason", [("load_fail=1", "told to fail"), ("load_crash=1", "while loading the model")])
def test_a_version_that_fails_to_load(daemon, bad, reason):
    server = start(daemon, {"v1": V1, "v2": f"fake:load_delay_ms=100,{bad}"})
    server.expect_errors("told to fail", "while loading the model", "signal 6")
    pid = status(server, "v1")["pid"]
    with Load(server) as load:
        load.wait_for(RATE // 4 + 1)
        answer = move(server, "v2")
        load.wait_for(RATE // 4 + 1)
        again = move(server, "v2")
        load.wait_for(RATE // 4 + 1)
    load.judge()
    assert answer.status == 500 and again.status == 500
    for one in (answer, again):
        assert reason in one.error()["message"], one
    assert load.models() == {"v1"}
    entry = server.get("/api/models").json()["aliases"][0]
    assert entry["model"] == "v1" and "swapping_to" not in entry
    assert reason in entry["error"]
    assert status(server, "v2")["state"] == "failed" and reason in status(server, "v2")["error"]
    assert status(server, "v1")["pid"] == pid, "v1 was restarted for nothing"
    # The call that goes back is the same; then nothing is wrong with the alias any more.
    assert move(server, "v1").status == 200
    assert "error" not in server.get("/api/models").json()["aliases"][0]


def test_rolling_back(daemon):
    """Also while the swap is still under way."""
    server = start(daemon, {"v1": V1, "v2": V2, "slow": "fake:slots=8,load_delay_ms=3000"})
    outcome = []
    with Load(server) as load:
        assert move(server, "v2").status == 200
        load.wait_for(5)
        assert move(server, "v1").status == 200
        back = time.monotonic()
        load.wait_for(5)
        thread = threading.Thread(target=lambda: outcome.append(move(server, "slow")))
        thread.start()
        poll(lambda: status(server, "slow")["state"] == "loading", 20, "a swap under way")
        assert move(server, "v1").status == 200
        thread.join()
        load.wait_for(5)
    load.judge()
    assert load.models(back) == {"v1"}
    assert outcome[0].status >= 400 and "another call moved the alias" in outcome[0].error()["message"], outcome
    assert server.metric("roundhouse_swaps_total", result="replaced") == 1


def test_a_worker_that_dies_while_its_alias_moves(daemon):
    """v1 is killed in mid-swap: what ran on it is run again (streams that had begun are told), and the swap goes on."""
    server = start(daemon, {"v1": V1, "v2": "fake:slots=8,load_delay_ms=600"})
    server.expect_errors("signal 9")
    pid = status(server, "v1")["pid"]
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(move(server, "v2")))
    thread.start()
    poll(lambda: status(server, "v2")["state"] == "loading", 20, "a swap under way")
    os.kill(pid, signal.SIGKILL)
    assert server.chat("hi [[tokens=2]]", model="chat").status == 200
    thread.join()
    assert outcome[0].status == 200, outcome
    assert server.chat("hi", model="chat").json()["model"] == "v2"
    poll(lambda: cold(server, "v1"), 20, "the old model's end")


# --- no room for both ---


def test_two_that_do_not_fit(daemon):
    each = 48 if not SANITIZED else 160
    models = {
        name: {"path": f"fake:slots=8,memory=32MiB,load_delay_ms={delay}", "memory": f"{each}MiB"}
        for name, delay in (("v1", 50), ("v2", 100))
    }
    budget = each * 3 // 2 * MIB
    server = daemon(models={}, config={"models": models}, memory_budget=budget, **QUICK)
    assert move(server, "v1").status == 200
    assert server.chat("hi", model="chat").status == 200
    with Load(server, RATE // 2) as load, Watch(server, budget) as watch:
        load.wait_for(RATE // 4 + 1)
        refused = move(server, "v2")
        load.wait_for(RATE // 4 + 1)
        kept = time.monotonic()
        for number in range(2 if SANITIZED else 6):
            new, old = ("v2", "v1") if number % 2 == 0 else ("v1", "v2")
            answer = move(server, new, replace=True)
            assert answer.status == 200 and answer.json()["model"] == new, answer
            assert cold(server, old)
            done = time.monotonic()
            load.wait_for(RATE // 4 + 1)
            assert load.models(done, time.monotonic()) == {new}
    load.judge()
    print(load.told("replace"), watch)
    message = refused.error()["message"]
    assert refused.status == 503 and refused.error()["code"] == "no_memory_for_model"
    assert f"{2 * each} MiB" in message and f"{each * 3 // 2} MiB" in message and "replace" in message, message
    assert load.models(0, kept) == {"v1"}
    assert watch.over == [] and watch.most == 1, watch.over


# --- very often ---


def small_things(server):
    """What a leak would show in: memory, descriptors, threads, processes. A worker that has just left may still be
    known for a moment, so the fewest descriptors of a few looks count."""

    def look():
        time.sleep(0.01)
        return server.fds()

    fewest = min(look() for _ in range(30))
    return server.rss(), fewest, len(os.listdir(f"/proc/{server.pid}/task")), sorted(workers(server.pid))


def check_memory(before, after, what):
    # A sanitizer keeps what is freed; it looks for leaks itself, at the end.
    assert SANITIZED or after[0] - before[0] < MIB, f"memory grows with each {what}"


class Busy(threading.Thread):
    """Asks for the alias again and again on one connection."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.stopping = threading.Event()
        self.statuses = {}
        self.models = set()

    def run(self):
        body = {"model": "chat", "messages": [{"role": "user", "content": "[[tokens=2]]"}]}
        with self.server.connect() as connection:
            while not self.stopping.is_set():
                connection.send_request("POST", "/v1/chat/completions", body)
                answer = connection.read_response("POST")
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
                self.models.add(answer.json().get("model"))


def switch(connection, model):
    connection.send_request("POST", "/api/models/alias", {"alias": "chat", "model": model})
    answer = connection.read_response("POST")
    assert answer.status == 200 and answer.json()["model"] == model, answer


def test_ten_thousand_switches(daemon, tmp_path):
    """Between two models that are in memory (another alias names each, so neither leaves)."""
    total, early = (1000, 200) if SANITIZED else (10000, 1000)
    store = tmp_path / "store"
    server = daemon(models={"v1": "fake:slots=4", "v2": "fake:slots=4"}, store_dir=store, **QUICK)
    for name in ("v1", "v2"):
        assert server.post("/api/models/alias", {"alias": f"keeps-{name}", "model": name}).status == 200
        assert server.chat("hi", model=name).status == 200
    assert move(server, "v2").status == 200
    busy = [Busy(server) for _ in range(2)]
    for thread in busy:
        thread.start()
    began = time.monotonic()
    with server.connect() as connection:
        for number in range(1, total + 1):
            switch(connection, "v1" if number % 2 else "v2")
            if number == early:
                before = small_things(server)
        after = small_things(server)
        took = time.monotonic() - began
    for thread in busy:
        thread.stopping.set()
    for thread in busy:
        thread.join(scaled(30))
    answered = sum(thread.statuses.get(200, 0) for thread in busy)
    print(f"{total} switches in {took:.1f} s, {answered} answers; after {early}: {before}, at the end: {after}")
    assert all(set(thread.statuses) == {200} for thread in busy), [thread.statuses for thread in busy]
    assert set().union(*(thread.models for thread in busy)) == {"v1", "v2"}
    check_memory(before, after, "switch")
    assert after[1:] == before[1:], "descriptors, threads or processes are left by switches"
    # What is remembered is the last one.
    assert server.stop() == 0
    assert json.loads((store / "aliases.json").read_text())["chat"] == "v2"


def test_many_real_swaps_leave_nothing(daemon):
    """Here each swap starts a worker and ends another."""
    total, early = (30, 10) if SANITIZED else (300, 60)
    server = start(daemon, {"v1": "fake:slots=4", "v2": "fake:slots=4"})
    busy = Busy(server)
    busy.start()
    with server.connect() as connection:
        for number in range(1, total + 1):
            new, old = ("v2", "v1") if number % 2 else ("v1", "v2")
            switch(connection, new)
            poll(lambda old=old: cold(server, old), 20, "the old model's end")
            if number == early:
                before = small_things(server)
        after = small_things(server)
    busy.stopping.set()
    busy.join(scaled(30))
    print(f"{total} swaps, {busy.statuses} answers; after {early}: {before}, at the end: {after}")
    assert set(busy.statuses) == {200}, busy.statuses
    check_memory(before, after, "swap")
    assert after[1:3] == before[1:3] and len(after[3]) == 1

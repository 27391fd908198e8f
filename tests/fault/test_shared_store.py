# SPDX-License-Identifier: Apache-2.0
"""Two daemons with one store. Everything in the store changes by one rename, under locks that die with their holder
(src/store/README.md): so what one daemon does the other sees, and nobody loses what the other wrote.

Models of the store are listed here, not loaded: that needs a real engine and is in e2e/test_stored_models.py.
"""

import json
import os
import signal
import threading
import time

import pytest

from harness import procs
from harness.hub import Hub, gguf
from harness.ndjson import Lines
from harness.pulling import installed
from harness.wait import holds_for, poll, scaled

FILE = "Noise-Q4_K_M.gguf"
SOURCE = "hf:org/noise:Q4_K_M"
NAME = "noise:q4_k_m"
CONTENT = gguf(6_000_000)
QUICK = {"preload": False, "backoff_min": "20ms", "backoff_max": "200ms"}


@pytest.fixture
def hub():
    hub = Hub()
    hub.add_repository("org/noise", {FILE: CONTENT})
    yield hub
    hub.stop()


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def start(daemon, hub, store):
    """One more daemon on the store."""

    def start(models=None, **settings):
        environment = {"HF_ENDPOINT": hub.url}
        return daemon(models=models or {}, store_dir=store, environment=environment, **{**QUICK, **settings})

    return start


def names(server):
    return [model["name"] for model in server.get("/api/models").json()["models"]]


def pull(server, **fields):
    return server.post("/api/models/pull", {"model": SOURCE, "stream": False, **fields}, timeout=90)


def aliases(server):
    return {entry["alias"]: entry["model"] for entry in server.get("/api/models").json()["aliases"]}


def alias(server, name, model, **fields):
    return server.post("/api/models/alias", {"alias": name, "model": model, **fields}, timeout=60)


def stored_aliases(store):
    return json.loads((store / "aliases.json").read_text())


def in_background(call, *arguments):
    results = []
    thread = threading.Thread(target=lambda: results.append(call(*arguments)))
    thread.start()
    return thread, results


def the_file(hub):
    return next(one for path, one in hub.files.items() if path.endswith(FILE))


def close_gate(hub):
    """The file's bytes stop after a while, until the gate opens."""
    served = the_file(hub)
    served.gate = threading.Event()
    served.gate_after = 500_000
    return served.gate


def partial_files(store):
    return [path for path in (store / "partial").rglob("*") if path.is_file()]


# --- pulls ---


def test_what_one_pulls_the_other_has_at_once(start, hub, store):
    one, two = start(), start()
    assert two.get("/api/models/status/noise").status == 404
    answer = pull(one)
    assert answer.status == 200, answer
    # Who asks for it by name waits for no timer; the list follows by itself.
    assert two.get("/api/models/status/noise").json()["name"] == NAME
    assert names(one) == [NAME]
    poll(lambda: names(two) == [NAME], 5, "the other daemon's list")
    assert pull(two).json()["already"] is True
    assert hub.bytes_sent(FILE) == len(CONTENT)
    assert list(installed(store)) == [NAME]


def test_both_pull_the_same_at_once(start, hub, store):
    one, two = start(), start()
    gate = close_gate(hub)
    first, first_answer = in_background(pull, one)
    poll(lambda: hub.bytes_sent(FILE) > 0, 10, "the first pull's bytes")
    with Lines(two, "POST", "/api/models/pull", {"model": SOURCE}, timeout=90) as lines:
        events = iter(lines)
        waiting = next(event for event in events if event["event"] == "waiting")
        requests = len(hub.requests_for(FILE))
        gate.set()
        rest = list(events)
    first.join()
    assert "another process (" in waiting["for"] and NAME in waiting["for"], waiting
    assert first_answer[0].status == 200, first_answer
    assert rest[-1]["event"] == "done" and rest[-1]["already"] is True, rest[-1]
    # One download, and the one who waited asked for none of the file.
    assert hub.bytes_sent(FILE) == len(CONTENT)
    assert len(hub.requests_for(FILE)) >= requests
    assert names(one) == [NAME] and names(two) == [NAME]
    assert list(installed(store)) == [NAME]
    assert partial_files(store) == []


def test_many_clients_of_both_pull_at_once(start, hub, store):
    servers = [start(), start()]
    results = []

    def ask(number):
        results.append(pull(servers[number % 2]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in results] == [200] * 8, results
    assert hub.bytes_sent(FILE) == len(CONTENT)
    assert list(installed(store)) == [NAME]


def test_a_daemon_killed_in_mid_pull(start, hub, store):
    """Nothing half-made is to be seen; the other daemon pulls the same, and what had come is not fetched again."""
    one, two = start(), start()
    gate = close_gate(hub)
    one.bad_end_expected = True
    with one.connect() as connection:
        connection.send_request("POST", "/api/models/pull", {"model": SOURCE})
        poll(lambda: hub.bytes_sent(FILE) >= 500_000, 10, "half a file")
        children = procs.descendants(one.pid)
        assert children
        one.send_signal(signal.SIGKILL)
        one.wait_exit()
    # Its pull goes with it: nobody listens, and the lock must not stay.
    poll(lambda: not any(procs.alive(pid) for pid in children), 10, "the end of the killed daemon's pull")
    assert installed(store) == {} and names(two) == []
    gate.set()
    the_file(hub).gate = None
    answer = pull(two)
    assert answer.status == 200, answer
    assert list(installed(store)) == [NAME] and names(two) == [NAME]
    assert hub.bytes_sent(FILE) < 2 * len(CONTENT)
    assert partial_files(store) == []
    assert os.listdir(store / "trash") == []


def test_a_pull_killed_at_any_time(start, hub, store):
    """The daemon dies at a random moment of the pull, again and again; what is installed is always whole."""
    moments = [0.0, 0.02, 0.05, 0.1, 0.2]
    the_file(hub).delay = 0.004
    for moment in moments:
        one = start()
        one.bad_end_expected = True
        with one.connect() as connection:
            connection.send_request("POST", "/api/models/pull", {"model": SOURCE, "force": True})
            poll(lambda one=one: procs.descendants(one.pid), 10, "the pull's process")
            children = procs.descendants(one.pid)
            time.sleep(scaled(moment))
            one.send_signal(signal.SIGKILL)
            one.wait_exit()
        poll(lambda children=children: not any(procs.alive(pid) for pid in children), 10, "the end of its pull")
        assert set(installed(store)) <= {NAME}
    two = start()
    assert pull(two).status == 200
    assert list(installed(store)) == [NAME] and names(two) == [NAME]
    # At most a small file that was being written when its writer was killed (here there is one for certain). When it is
    # so old that nobody can be writing it, whoever opens the store deletes it.
    left = store / "partial" / "noise" / ".unfinished-left"
    left.parent.mkdir(exist_ok=True)
    left.write_text("x")
    for path in partial_files(store):
        assert path.name.startswith(".unfinished-"), path
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    start()
    assert partial_files(store) == []
    assert not left.parent.exists()


def test_a_daemon_that_starts_does_not_disturb_a_pull(start, hub, store):
    """Opening a store deletes what crashes left, and only that."""
    one = start()
    gate = close_gate(hub)
    thread, answer = in_background(pull, one)
    poll(lambda: hub.bytes_sent(FILE) >= 500_000, 10, "half a file")
    two = start()
    assert names(two) == []
    assert partial_files(store), "the pull's file was deleted under it"
    gate.set()
    thread.join()
    assert answer[0].status == 200, answer
    poll(lambda: names(two) == [NAME], 5, "the other daemon's list")
    assert list(installed(store)) == [NAME]


# --- delete and copy ---


def test_both_delete_at_once(start, hub, store):
    servers = [start(), start()]
    for _ in range(3):
        assert pull(servers[0]).status == 200
        poll(lambda: names(servers[1]) == [NAME], 5, "the other daemon's list")
        pending = [in_background(server.fetch, "DELETE", f"/api/models/{NAME}") for server in servers]
        for thread, _ in pending:
            thread.join()
        found = sorted(results[0].status for _, results in pending)
        assert found[0] == 200 and found[1] in (200, 404, 409), [results for _, results in pending]
        assert installed(store) == {}
        for server in servers:
            poll(lambda server=server: names(server) == [], 5, "an empty list")


def test_a_copy_is_seen_and_survives_its_original(start, store):
    one, two = start(), start()
    assert pull(one).status == 200
    assert one.post("/api/models/copy", {"from": NAME, "to": "mine"}).status == 200
    poll(lambda: names(two) == ["mine:q4_k_m", NAME], 5, "the copy in the other daemon")
    assert two.fetch("DELETE", f"/api/models/{NAME}").status == 200
    poll(lambda: names(one) == ["mine:q4_k_m"], 5, "the end of the original")
    assert list(installed(store)) == ["mine:q4_k_m"]


# --- aliases ---

MODELS = {"v1": "fake:", "v2": "fake:"}


def agree(servers, store, name, model, seconds=10):
    def same():
        return all(aliases(server).get(name) == model for server in servers) and (
            stored_aliases(store).get(name) == model
        )

    try:
        poll(same, seconds, "daemons that agree")
    except AssertionError as error:
        found = [aliases(server).get(name) for server in servers]
        raise AssertionError(f"{name}: {found}, in the store {stored_aliases(store).get(name)}; {error}") from error


def test_an_alias_is_seen_by_the_other(start, store):
    one, two = start(MODELS), start(MODELS)
    assert alias(one, "chat", "v1").status == 200
    agree([one, two], store, "chat", "v1")
    assert two.chat("hi", model="chat").json()["model"] == "v1"
    assert alias(two, "chat", "v2").status == 200
    agree([one, two], store, "chat", "v2")
    assert one.chat("hi", model="chat").json()["model"] == "v2"
    assert alias(one, "chat", None).status == 200
    poll(lambda: two.chat("hi", model="chat").status == 404, 10, "the alias' end in the other daemon")


def test_an_alias_whose_model_only_one_has(start, store):
    """The other says so, and leaves it alone."""
    one, two = start({**MODELS, "own": "fake:"}), start(MODELS)
    assert alias(one, "chat", "own").status == 200
    poll(lambda: "chat" in aliases(two), 10, "the alias in the other daemon")
    answer = two.chat("hi", model="chat")
    assert answer.status == 404 and "the alias chat means own" in answer.error()["message"], answer
    assert alias(two, "other", "v1").status == 200
    agree([one, two], store, "other", "v1")
    assert one.chat("hi", model="chat").json()["model"] == "own"
    assert stored_aliases(store) == {"chat": "own", "other": "v1"}


def test_a_pin_is_seen_by_the_other(start):
    one, two = start(MODELS), start(MODELS)
    assert one.post("/api/models/pin", {"model": "v1"}).status == 200
    poll(lambda: two.get("/api/models/status/v1").json()["pinned"], 10, "the pin in the other daemon")
    assert two.post("/api/models/pin", {"model": "v1", "pinned": False}).status == 200
    poll(lambda: not one.get("/api/models/status/v1").json()["pinned"], 10, "its end")


def test_nobody_loses_the_others_aliases(start, store):
    """Both set many at the same time, each within the second in which writing is put off."""
    servers = [start(MODELS), start(MODELS)]
    count = 40

    def work(which):
        return [alias(servers[which], f"a{which}-{number}", "v1").status for number in range(count)]

    pending = [in_background(work, which) for which in (0, 1)]
    for thread, _ in pending:
        thread.join()
    assert all(results[0] == [200] * count for _, results in pending)
    wanted = {f"a{which}-{number}": "v1" for which in (0, 1) for number in range(count)}
    for server in servers:
        poll(lambda server=server: aliases(server) == wanted, 15, "all aliases of both")
    assert stored_aliases(store) == wanted


def test_the_same_alias_set_by_both_at_once(start, store):
    """Somebody wins; all agree who."""
    servers = [start(MODELS), start(MODELS)]
    for _ in range(3):
        pending = [in_background(alias, server, "chat", model) for server, model in zip(servers, ("v1", "v2"))]
        for thread, results in pending:
            thread.join()
            assert results[0].status == 200, results

        def settled():
            found = {stored_aliases(store).get("chat"), *(aliases(server).get("chat") for server in servers)}
            return len(found) == 1

        poll(settled, 10, "daemons that agree")


def test_a_slow_follower_undoes_nothing(start, store):
    """Where both are in memory, following is a swap, and on this machine the new model may take long to load there. By
    then the alias may have moved on: the follower follows, it does not bring its own old news back."""
    one = start({"v1": "fake:", "v2": "fake:"})
    two = start({"v1": "fake:", "v2": "fake:load_delay_ms=1500"})
    assert alias(one, "chat", "v1").status == 200
    agree([one, two], store, "chat", "v1")
    for server in (one, two):
        assert server.chat("hi", model="chat").json()["model"] == "v1"
    time.sleep(1.1)  # the put-off writing is not what this is about
    assert alias(one, "chat", "v2").status == 200
    poll(lambda: two.get("/api/models/status/v2").json()["state"] == "loading", 10, "the follower's swap")
    assert alias(one, "chat", "v1").status == 200
    poll(lambda: stored_aliases(store)["chat"] == "v1", 10, "the store's word")
    # Until the follower's load would be over, and what it might write would have come around.
    holds_for(
        lambda: aliases(one)["chat"] == "v1" and stored_aliases(store)["chat"] == "v1",
        3 + scaled(1),
        "what was asked for, which the follower must not undo",
    )
    agree([one, two], store, "chat", "v1")
    assert two.chat("hi", model="chat").json()["model"] == "v1"


def test_a_follower_whose_model_does_not_load(start, store):
    """It keeps what works, says why, and leaves the store alone."""
    one = start({"v1": "fake:", "v2": "fake:"})
    two = start({"v1": "fake:", "v2": "fake:load_fail=1"})
    two.expect_errors("told to fail")
    assert alias(one, "chat", "v1").status == 200
    agree([one, two], store, "chat", "v1")
    for server in (one, two):
        assert server.chat("hi", model="chat").status == 200
    assert alias(one, "chat", "v2").status == 200
    poll(lambda: "error" in two.get("/api/models").json()["aliases"][0], 10, "the follower's reason")
    entry = two.get("/api/models").json()["aliases"][0]
    assert entry["model"] == "v1" and "told to fail" in entry["error"]
    assert two.chat("hi", model="chat").json()["model"] == "v1"
    assert aliases(one)["chat"] == "v2"
    poll(lambda: stored_aliases(store)["chat"] == "v2", 5, "the store's word")
    # It asks the model again when something changes, not all the time.
    loads = len(two.log(message="worker started"))
    holds_for(lambda: len(two.log(message="worker started")) <= loads + 1, 0.5, "a follower that does not try all the time")

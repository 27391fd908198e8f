# SPDX-License-Identifier: Apache-2.0
"""The ledger: what is in it after SIGTERM and SIGKILL, with two daemons on one file, with a file that cannot be used; and
what it says of costs. Its rows are read with SQLite, as anybody could."""

import contextlib
import json
import os
import sqlite3
import threading
import time

import pytest

from harness.wait import poll, scaled

STATE = ".local/share/roundhouse/state"


def state_of(server):
    return server.folder / STATE


def rows(path, columns="request_id, outcome"):
    """Rows of usage in a state folder. No daemon need run."""
    with contextlib.closing(sqlite3.connect(f"file:{path}/state.db?mode=ro", uri=True)) as database:
        return database.execute(f"SELECT {columns} FROM usage ORDER BY id").fetchall()


class Load:
    """Clients that ask without pause; `answered` has (request id, when) of each whole answer."""

    def __init__(self, server, clients=4):
        self.server, self.answered, self.over = server, [], threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        with contextlib.suppress(Exception), self.server.connect() as connection:
            while not self.over.is_set():
                connection.send_request("POST", "/v1/chat/completions", body)
                answer = connection.read_response()
                if answer.status == 200:
                    self.answered.append((answer.header("x-request-id"), time.monotonic()))

    def wait(self, count):
        poll(lambda: len(self.answered) >= count, 60, f"{count} answers")

    def join(self):
        self.over.set()
        for thread in self.threads:
            thread.join(scaled(30))


# --- ends ---


def test_nothing_is_lost_at_sigterm(daemon):
    server = daemon()
    load = Load(server)
    load.wait(200)
    assert server.stop() == 0
    load.join()
    kept = [name for name, _ in rows(state_of(server))]
    assert len(kept) == len(set(kept))
    assert {name for name, _ in load.answered} <= set(kept)


def test_a_second_at_most_is_lost_at_sigkill(daemon):
    server = daemon()
    server.bad_end_expected = True
    load = Load(server)
    began = time.monotonic()
    poll(lambda: time.monotonic() - began > scaled(1.0) + 1.5, 10, "some transactions")
    load.wait(50)
    before = time.monotonic()
    server.stop(9)
    load.join()
    kept = {name for name, _ in rows(state_of(server))}
    old = {name for name, when in load.answered if when < before - scaled(1.0)}
    assert len(old) >= 10
    assert old <= kept, f"{len(old - kept)} of {len(old)} are lost"
    # The file is whole, and the next daemon goes on with it.
    again = daemon(state_dir=str(state_of(server)))
    assert again.chat("hi", max_tokens=2).status == 200
    assert again.stop() == 0
    assert len(rows(state_of(server))) == len(kept) + 1
    with contextlib.closing(sqlite3.connect(state_of(server) / "state.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_failures_and_who_left_are_in_it(daemon):
    server = daemon()
    server.expect_errors("told to fail")
    assert server.chat("[[fail_at=0]]").status >= 500
    with server.chat_stream("[[tokens=500 delay_ms=20]]") as stream:
        stream.next_text()
    server.wait_idle()
    assert server.chat("hi", model="nobody-knows-it").status == 404
    assert server.stop() == 0
    outcomes = [outcome for _, outcome in rows(state_of(server))]
    assert len(outcomes) == 2 and outcomes[1] == "cancelled" and outcomes[0] not in ("ok", "cancelled")
    # A name that nobody serves is a stranger's word.
    assert b"nobody-knows-it" not in (state_of(server) / "state.db").read_bytes()


def test_the_file_is_its_owners_alone(daemon):
    server = daemon()
    assert server.chat("hi").status == 200
    assert server.stop() == 0
    assert (state_of(server) / "state.db").stat().st_mode & 0o777 == 0o600
    assert state_of(server).stat().st_mode & 0o777 == 0o700


def test_two_daemons_on_one_file(daemon, tmp_path):
    folder = str(tmp_path / "state")
    one, two = daemon(state_dir=folder), daemon(state_dir=folder)
    loads = [Load(one), Load(two)]
    for load in loads:
        load.wait(100)
    for load in loads:
        load.join()
    for server in (one, two):
        server.wait_idle()
    answered = {name for load in loads for name, _ in load.answered}
    # Each tells of both, once the other has written.
    poll(lambda: total(one)["requests"] >= len(answered), 10, "the other's requests")
    assert one.stop() == 0
    assert two.stop() == 0
    kept = [name for name, _ in rows(folder)]
    assert len(kept) == len(set(kept)) and set(kept) == answered


def total(server, query=""):
    answer = server.get(f"/api/usage{query}")
    assert answer.status == 200, answer
    return answer.json()["total"]


# --- a file that cannot be used ---


def damage(folder, how):
    """A state folder whose database is of no use; the words that the log must have."""
    folder.mkdir(parents=True)
    file = folder / "state.db"
    if how == "rubbish":
        file.write_bytes(os.urandom(65536))
        return "damaged"
    if how == "text":
        file.write_text("these are my notes\n" * 100)
        return "damaged"
    if how == "folder":
        file.mkdir()
        return "not a file"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE notes(text)" if how == "other" else "PRAGMA user_version = 999")
        if how == "newer":
            database.execute(f"PRAGMA application_id = {application_id(folder)}")
        database.commit()
    return {"newer": "newer roundhouse", "other": "another program"}[how]


def application_id(folder):
    """As a daemon's own file has it."""
    source = (os.path.dirname(__file__), "..", "..", "src", "ledger", "schema.h")
    for line in open(os.path.join(*source), encoding="utf-8"):
        if "RH_SCHEMA_APPLICATION" in line and "0x" in line:
            return int(line.split("0x")[1].split()[0].rstrip("u)LUl"), 16)
    raise AssertionError("no RH_SCHEMA_APPLICATION in schema.h")


@pytest.mark.parametrize("how", ["rubbish", "text", "folder", "newer", "other"])
def test_a_file_that_cannot_be_used(daemon, tmp_path, how):
    folder = tmp_path / "state"
    words = damage(folder, how)
    before = (folder / "state.db").read_bytes() if how != "folder" else None
    server = daemon(state_dir=str(folder))
    for _ in range(3):
        assert server.chat("hi", max_tokens=2).status == 200
    assert server.get("/api/usage").status == 503
    warned = [line for line in server.log(level="warn") if "state database" in line["message"]]
    assert len(warned) == 1
    assert words in warned[0]["error"] and str(folder) in json.dumps(warned[0])
    assert server.stop() == 0
    # It is somebody's: nothing of it is changed.
    if before is not None:
        assert (folder / "state.db").read_bytes() == before
    # Where keys are demanded, nobody can be let in: that is said at the start.
    strict = daemon(state_dir=str(folder), require_key="always", wait=False)
    strict.bad_end_expected = True
    strict.expect_errors("state database")
    assert strict.wait_exit() != 0
    assert words in strict.log_text()


def test_a_folder_that_cannot_be_made(daemon, tmp_path):
    (tmp_path / "file").write_text("in the way")
    server = daemon(state_dir=str(tmp_path / "file" / "state"))
    assert server.chat("hi", max_tokens=2).status == 200
    assert len([line for line in server.log(level="warn") if "state database" in line["message"]]) == 1


def damaged_at(folder, table):
    """Overwrites the first page of a table."""
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with open(folder / "state.db", "r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


def used(daemon, folder):
    """A state folder after some requests."""
    server = daemon(state_dir=str(folder))
    load = Load(server)
    load.wait(50)
    load.join()
    assert server.stop() == 0


def test_damaged_where_usage_is(daemon, tmp_path):
    """The file opens and its rows are rubbish: requests run, the loss is told."""
    folder = tmp_path / "state"
    used(daemon, folder)
    damaged_at(folder, "usage")
    server = daemon(state_dir=str(folder))
    server.expect_errors("damaged", "could not be written")
    for _ in range(20):
        assert server.chat("hi", max_tokens=2).status == 200
    poll(lambda: [line for line in server.log() if "damaged" in json.dumps(line)], 10, "a line in the log")
    assert server.health()["status"] == "ok"
    assert server.chat("hi", max_tokens=2).status == 200
    assert len([line for line in server.log() if "damaged" in json.dumps(line)]) <= 5


def test_damaged_where_keys_are(daemon, tmp_path):
    """Who may enter cannot be known any more, so nobody may."""
    folder = tmp_path / "state"
    used(daemon, folder)
    damaged_at(folder, "keys")
    server = daemon(state_dir=str(folder), wait=False)
    server.bad_end_expected = True
    server.expect_errors("damaged")
    assert server.wait_exit() != 0
    assert "keys" in server.log_text() and str(folder) in server.log_text()


# --- what it cost ---


def provider(upstream, **fields):
    return {"type": "openai-compatible", "baseUrl": upstream.url, "models": {"default": "m"}, "maxRetries": 0, **fields}


def test_costs_and_savings(daemon, upstream):
    server = daemon(
        config={
            "providers": {"up": provider(upstream)},
            "prices": {
                "up/m": {"input": 100, "output": 200, "request": 0.001},
                "up/big": {"input": 1000, "output": 2000},
            },
        },
        reference_model="up/big",
    )
    cost, reference = 7 * 100e-6 + 5 * 200e-6 + 0.001, 7 * 1000e-6 + 5 * 2000e-6
    whole = server.chat("hi", model="up/m")
    assert float(whole.header("x-roundhouse-cost-usd")) == pytest.approx(cost)
    assert whole.json()["roundhouse"]["cost_usd"] == pytest.approx(cost)
    assert whole.json()["roundhouse"]["provider"] == "up"
    with server.chat_stream("hi", model="up/m") as stream:
        assert stream.start().header("x-roundhouse-provider") == "up"
        last = [event.json() for event in stream if event.data != "[DONE]"][-1]
    assert last["roundhouse"]["cost_usd"] == pytest.approx(cost)
    with server.stream("/generate", {"model": "up/m", "prompt": "hi"}) as stream:
        done = [event.json() for event in stream][-1]
    assert done["cost_usd"] == pytest.approx(cost), done
    local = server.chat("one two", model="fake", max_tokens=3)
    assert float(local.header("x-roundhouse-cost-usd")) == 0
    assert local.json()["roundhouse"]["cost_usd"] == 0
    usage = local.json()["usage"]
    saved_local = usage["prompt_tokens"] * 1000e-6 + usage["completion_tokens"] * 2000e-6
    poll(lambda: total(server)["requests"] == 4, 10, "four requests")
    sums = total(server)
    assert sums["cost_usd"] == pytest.approx(3 * cost)
    assert sums["reference_usd"] == pytest.approx(3 * reference + saved_local)
    assert sums["saved_usd"] == pytest.approx(3 * (reference - cost) + saved_local)
    groups = server.get("/api/usage?by=provider,model").json()["groups"]
    assert [(group["provider"], group["model"], group["requests"]) for group in groups] == [
        ("up", "m", 3),
        ("local", "fake", 1),
    ]
    assert server.get("/last_request_stats").json()["provider"] == "local"
    assert server.stop() == 0
    kept = rows(state_of(server), "provider, cost_usd, prompt_tokens, completion_tokens, cache, attempts")
    assert kept[0] == ("up", pytest.approx(cost), 7, 5, "off", 1)
    assert kept[3][:2] == ("local", 0)


def test_a_hit_costs_nothing_and_a_model_without_a_price_neither(daemon, upstream):
    server = daemon(
        models={},
        config={
            "providers": {"up": provider(upstream, models={"default": "m", "unpriced": "never-heard-of"})},
            "prices": {"up/m": {"input": 100, "output": 100}},
        },
        cache="on",
    )
    first = server.chat("hi", model="up/m", temperature=0)
    second = server.chat("hi", model="up/m", temperature=0)
    other = server.chat("hi", model="up/never-heard-of", temperature=0)
    assert [answer.header("x-roundhouse-cache") for answer in (first, second, other)] == ["miss", "hit", "miss"]
    costs = [float(answer.header("x-roundhouse-cost-usd")) for answer in (first, second, other)]
    assert costs == [pytest.approx(0.0012), 0, 0]
    assert server.stop() == 0
    assert rows(state_of(server), "cache, cost_usd") == [("miss", pytest.approx(0.0012)), ("hit", 0), ("miss", 0)]


def test_the_ledger_is_off_the_way(daemon, tmp_path):
    """Somebody holds the database's lock: requests neither wait for it nor are they lost."""
    folder = tmp_path / "state"
    server = daemon(state_dir=str(folder))
    assert server.chat("hi", max_tokens=2).status == 200
    with contextlib.closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for _ in range(30):
            assert server.chat("hi", max_tokens=2).status == 200
        assert time.monotonic() - began < scaled(3)
        database.execute("ROLLBACK")
    poll(lambda: total(server)["requests"] == 31, 20, "all requests in the ledger")
    assert server.stop() == 0
    assert len(rows(folder)) == 31

# SPDX-License-Identifier: Apache-2.0
"""Two daemons that serve the same stored model, with the real engine. What they see of each other's changes is in
fault/test_shared_store.py."""

import pytest

from harness import procs
from harness.hub import Hub
from harness.pulling import installed
from harness.wait import poll

NAME = "smollm2:v1"
ASK = {"temperature": 0, "seed": 1}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def start(daemon, store):
    def start(**settings):
        return daemon(models={}, store_dir=store, context=1024, slots=2, preload=False, hub_cache="off", **settings)

    return start


def pull(server, smollm2):
    answer = server.post("/api/models/pull", {"model": f"file:{smollm2}", "name": NAME, "stream": False}, timeout=120)
    assert answer.status == 200, answer


def names(server):
    return [model["name"] for model in server.get("/api/models").json()["models"]]


def answer_of(server, model="smollm2"):
    answer = server.chat("What is the capital of France?", model=model, max_tokens=12, wait=60, **ASK)
    assert answer.status == 200, answer
    return answer.json()["choices"][0]["message"]["content"]


def test_both_serve_what_one_pulled(start, smollm2):
    one, two = start(), start()
    pull(one, smollm2)
    # At once, and without a restart: by its name, without its version, and under an alias that the other one made.
    assert answer_of(two) == answer_of(one)
    assert one.post("/api/models/alias", {"alias": "fast", "model": NAME}).status == 200
    poll(lambda: two.get("/api/models").json()["aliases"], 10, "the alias in the other daemon")
    assert answer_of(two, "fast") == answer_of(one, NAME)
    # Two processes, one file: nobody made a copy.
    for server in (one, two):
        assert server.get("/api/models/status/smollm2").json()["origin"] == "store"


def test_one_deletes_what_the_other_uses(start, store, smollm2):
    """What runs ends in peace; then it is gone in both, and so is the file."""
    one, two = start(), start()
    pull(one, smollm2)
    answer_of(one)
    poll(lambda: names(two) == [NAME], 10, "the other daemon's list")
    with one.chat_stream("Tell me a long story.", model=NAME, max_tokens=150, **ASK) as stream:
        stream.next_text()
        worker = one.worker_pid()
        answer = two.fetch("DELETE", f"/api/models/{NAME}")
        assert answer.status == 200, answer
        assert installed(store) == {} and names(two) == []
        poll(lambda: names(one) == [], 10, "the other daemon's notice")
        # No new request gets it, while the old one is still being answered.
        refused = one.chat("hi", model=NAME)
        assert refused.status == 404, refused
        assert procs.alive(worker), "the model left under a request"
        events = list(stream)
    assert events[-1].data == "[DONE]"
    assert not any('"error"' in event.data for event in events)
    assert len(events) > 50
    poll(lambda: not procs.alive(worker), 10, "the end of the deleted model's worker")
    assert list((store / "models").rglob("*.gguf")) == []
    # It can come back, under the same name.
    pull(two, smollm2)
    assert answer_of(one) == answer_of(two)


def test_offline_what_is_stored_works(daemon, start, store, smollm2):
    """A daemon that may make no connection: a hub that would answer hears nothing, and the model serves."""
    pull(start(), smollm2)
    hub = Hub()
    try:
        environment = {"ROUNDHOUSE_OFFLINE": "1", "HF_ENDPOINT": hub.url}
        server = daemon(models={}, store_dir=store, context=1024, preload=False, environment=environment)
        assert answer_of(server)
        for call in (
            lambda: server.post("/api/models/pull", {"model": "hf:org/noise", "stream": False}),
            lambda: server.post("/api/pull", {"model": "hf:org/noise", "stream": False}),
        ):
            answer = call()
            assert answer.status >= 400 and "ROUNDHOUSE_OFFLINE" in answer.body.decode(), answer
        assert names(server) == [NAME]
        assert hub.connections == 0
    finally:
        hub.stop()

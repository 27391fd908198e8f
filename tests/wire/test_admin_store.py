# SPDX-License-Identifier: Apache-2.0
"""Admin calls that change the store: pull, delete, copy. Pulls are from files of this machine, or from servers that never
answer."""

import json
import shutil
import socket
import subprocess
import threading

import pytest

from harness import procs
from harness.ndjson import Lines
from harness.wait import poll


@pytest.fixture
def silent():
    """A server that takes connections and never says a word; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def take():
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in taken:
        connection.close()


@pytest.fixture
def server(daemon, tmp_path):
    return daemon(models={"fake": "fake:"}, store_dir=tmp_path / "store", preload=False)


def pull(server, source, **fields):
    return server.post("/api/models/pull", {"model": source, "stream": False, **fields}, timeout=60)


def names(server):
    return [model["name"] for model in server.get("/api/models").json()["models"]]


def pulls_running(server):
    return server.metric("roundhouse_pulls_running")


# --- pull ---


def test_pull_of_a_file(server, tiny, tmp_path):
    answer = pull(server, f"file:{tiny}", name="tiny:v1")
    assert answer.status == 200, answer
    done = answer.json()
    assert done["event"] == "done"
    assert (done["name"], done["version"]) == ("tiny", "v1")
    assert done["bytes"] == tiny.stat().st_size
    # It is served when the client is told, not a moment later.
    assert names(server) == ["fake", "tiny:v1"]
    found = server.get("/api/models/status/tiny").json()
    assert found["origin"] == "store" and found["state"] == "cold" and found["format"] == "gguf"
    assert (tmp_path / "store" / "models").is_dir()
    usage = server.get("/api/models").json()["store"]
    assert usage["models"] == 1 and usage["model_bytes"] >= tiny.stat().st_size
    assert server.metric("roundhouse_pulls_total", result="ok") == 1
    again = pull(server, f"file:{tiny}", name="tiny:v1")
    assert again.status == 200 and again.json()["already"] is True


def test_pull_streams_its_events(server, tiny):
    with Lines(server, "POST", "/api/models/pull", {"source": f"file:{tiny}", "model": "mine"}) as lines:
        events = list(lines)
    assert lines.head.status == 200
    kinds = [event["event"] for event in events]
    assert kinds[0] == "resolved" and kinds[-1] == "done", kinds
    assert events[-1]["name"] == "mine"
    progress = [event for event in events if event["event"] == "progress"]
    assert progress and progress[-1]["completed"] == progress[-1]["total"] == tiny.stat().st_size


def test_dry_run_fetches_nothing(server, tiny):
    answer = pull(server, f"file:{tiny}", name="tiny", dry_run=True)
    assert answer.status == 200, answer
    found = answer.json()
    assert found["event"] == "resolved" and found["name"] == "tiny"
    assert found["bytes"] == tiny.stat().st_size and found["already"] is False
    assert names(server) == ["fake"]


def test_pull_of_a_file_that_is_not_there(server, tmp_path):
    answer = pull(server, f"file:{tmp_path}/none.gguf")
    assert answer.status == 404, answer
    assert "none.gguf" in answer.error()["message"]
    # Also for a client that wants a stream: nothing has been streamed yet.
    with Lines(server, "POST", "/api/models/pull", {"model": f"file:{tmp_path}/none.gguf"}) as lines:
        events = list(lines)
    assert lines.head.status == 404 or events[-1]["event"] == "error"
    assert names(server) == ["fake"]


def test_pull_of_what_is_no_model(server, tmp_path):
    path = tmp_path / "notes.gguf"
    path.write_text("<html>not a model</html>" * 100)
    answer = pull(server, f"file:{path}", name="notes")
    assert answer.status == 400, answer
    assert len(answer.error()["message"]) > 20
    assert names(server) == ["fake"]


def test_offline_makes_no_connection(daemon, silent, tiny, tmp_path):
    server = daemon(models={}, store_dir=tmp_path / "store", environment={"ROUNDHOUSE_OFFLINE": "1"})
    answer = pull(server, f"{silent}/model.gguf")
    assert answer.status == 503, answer
    assert answer.error()["code"] == "offline"
    assert pull(server, f"file:{tiny}", name="tiny").status == 200


def test_clients_of_one_pull_share_it(server, silent):
    source = {"model": f"{silent}/model.gguf", "name": "big"}
    with server.connect() as first, server.connect() as second:
        first.send_request("POST", "/api/models/pull", source)
        poll(lambda: pulls_running(server) == 1, 5, "the pull")
        second.send_request("POST", "/api/models/pull", source)
        poll(lambda: server.health()["requests_in_flight"] == 2, 5, "two clients")
        assert pulls_running(server) == 1
        children = [pid for pid in procs.descendants(server.pid) if "pull" in procs.command_line(pid)]
        assert len(children) == 1
        first.close()
        poll(lambda: server.health()["requests_in_flight"] == 1, 5, "one client")
        assert procs.alive(children[0]), "somebody still wants it"
        second.close()
        poll(lambda: not procs.alive(children[0]), 10, "the pull's end when nobody listens")
    poll(lambda: pulls_running(server) == 0, 5, "no pull")
    assert server.metric("roundhouse_pulls_total", result="cancelled") == 1
    server.wait_idle()


def test_only_so_many_pulls_at_once(server, silent):
    connections = [server.connect() for _ in range(8)]
    for number, connection in enumerate(connections):
        connection.send_request("POST", "/api/models/pull", {"model": f"{silent}/m{number}.gguf"})
    poll(lambda: pulls_running(server) == 8, 10, "eight pulls")
    answer = pull(server, f"{silent}/one-more.gguf")
    assert answer.status == 429, answer
    assert answer.header("retry-after")
    for connection in connections:
        connection.close()
    poll(lambda: pulls_running(server) == 0, 15, "no pull")


def test_a_pull_that_is_killed_is_told(server, silent):
    with server.connect() as connection:
        connection.send_request("POST", "/api/models/pull", {"model": f"{silent}/model.gguf"})
        poll(lambda: pulls_running(server) == 1, 5, "the pull")
        child = [pid for pid in procs.descendants(server.pid) if "pull" in procs.command_line(pid)][0]
        subprocess.run(["kill", "-9", str(child)], check=True)
        head = connection.read_head()
        text = b"".join(connection.iter_body(head)).decode()
    last = json.loads(text.strip().split("\n")[-1])
    message = last["error"]["message"]
    assert "signal 9" in message, last
    assert head.status in (200, 503)


def test_the_end_of_the_daemon_ends_pulls(server, silent):
    with server.connect() as connection:
        connection.send_request("POST", "/api/models/pull", {"model": f"{silent}/model.gguf"})
        poll(lambda: pulls_running(server) == 1, 5, "the pull")
        children = procs.descendants(server.pid)
        assert server.stop() == 0
        text = b"".join(connection.iter_body(connection.read_head())).decode()
        assert "shutting down" in text
    poll(lambda: not any(procs.alive(pid) for pid in children), 5, "the children's end")


def test_the_log_keeps_a_sources_secrets(server, silent):
    with server.connect() as connection:
        connection.send_request("POST", "/api/models/pull", {"model": f"{silent}/m.gguf?token=hunter2"})
        poll(lambda: pulls_running(server) == 1, 5, "the pull")
    poll(lambda: pulls_running(server) == 0, 10, "no pull")
    assert "hunter2" not in server.log_text()


# --- delete ---


def test_delete(server, tiny, tmp_path):
    pull(server, f"file:{tiny}", name="tiny:v1")
    answer = server.fetch("DELETE", "/api/models/tiny:v1")
    assert answer.status == 200, answer
    assert answer.json() == {"deleted": "tiny:v1"}
    assert names(server) == ["fake"]
    assert list((tmp_path / "store" / "models").rglob("*.gguf")) == []
    assert server.fetch("DELETE", "/api/models/tiny:v1").status == 404


def test_delete_with_a_body(server, tiny):
    pull(server, f"file:{tiny}", name="tiny:v1")
    assert server.fetch("DELETE", "/api/models", {"model": "tiny"}).json() == {"deleted": "tiny:v1"}
    assert names(server) == ["fake"]


def test_one_of_several_versions_must_be_named(server, tiny):
    for version in ("v1", "v2"):
        pull(server, f"file:{tiny}", name=f"tiny:{version}")
    answer = server.fetch("DELETE", "/api/models/tiny")
    assert answer.status == 409, answer
    assert "tiny:v1" in answer.error()["message"] and "tiny:v2" in answer.error()["message"]
    assert server.fetch("DELETE", "/api/models/tiny:v1").status == 200
    assert names(server) == ["fake", "tiny:v2"]


def test_delete_what_an_alias_names(server, tiny):
    pull(server, f"file:{tiny}", name="tiny:v1")
    server.post("/api/models/alias", {"alias": "fast", "model": "tiny:v1"})
    answer = server.fetch("DELETE", "/api/models/fast")
    assert answer.status == 409 and "alias" in answer.error()["message"], answer
    answer = server.fetch("DELETE", "/api/models/tiny:v1")
    assert answer.status == 409 and "alias" in answer.error()["message"], answer
    assert names(server) == ["fake", "tiny:v1"]
    assert server.fetch("DELETE", "/api/models/tiny:v1?force=true").status == 200
    assert names(server) == ["fake"]
    answer = server.chat("hi", model="fast")
    assert answer.status == 404 and "not here any more" in answer.error()["message"], answer


def test_delete_what_is_not_the_stores(server, daemon, tiny, tmp_path):
    answer = server.fetch("DELETE", "/api/models/fake")
    assert answer.status == 409 and "configuration" in answer.error()["message"], answer
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(tiny, folder)
    other = daemon(models={}, models_dir=folder, preload=False)
    answer = other.fetch("DELETE", "/api/models/tiny")
    assert answer.status == 409 and "models folder" in answer.error()["message"], answer
    assert (folder / "tiny.gguf").exists()


# --- copy ---


def test_copy(server, tiny):
    pull(server, f"file:{tiny}", name="tiny:v1")
    answer = server.post("/api/models/copy", {"from": "tiny:v1", "to": "mine"})
    assert answer.status == 200, answer
    assert answer.json() == {"from": "tiny:v1", "to": "mine:v1"}
    assert names(server) == ["fake", "mine:v1", "tiny:v1"]
    answer = server.post("/api/models/copy", {"from": "tiny", "to": "mine:v1"})
    assert answer.status == 409, answer
    answer = server.post("/api/models/copy", {"from": "fake", "to": "other"})
    assert answer.status == 409, answer
    # Both names have the files; one may go.
    assert server.fetch("DELETE", "/api/models/tiny:v1").status == 200
    assert names(server) == ["fake", "mine:v1"]


# --- other processes ---


def test_two_daemons_see_the_same_store(daemon, tiny, tmp_path):
    one = daemon(models={}, store_dir=tmp_path / "store", preload=False)
    two = daemon(models={}, store_dir=tmp_path / "store", preload=False)
    assert pull(one, f"file:{tiny}", name="tiny:v1").status == 200
    poll(lambda: names(two) == ["tiny:v1"], 10, "the other daemon's notice")
    assert two.fetch("DELETE", "/api/models/tiny:v1").status == 200
    poll(lambda: names(one) == [], 10, "the other daemon's notice")

# SPDX-License-Identifier: Apache-2.0
"""Ollama's model calls, as its own Python package makes them, and the shapes of the answers byte by byte where other
clients look closer. The hub is one on loopback."""

import asyncio
import datetime
import hashlib
import os
import re
import shutil
import threading
from contextlib import ExitStack

import ollama
import pytest

from harness.hub import Hub, gguf
from harness.ndjson import Lines
from harness.wait import poll, scaled

OLLAMA = {"User-Agent": "ollama/0.5.7 (amd64 linux) Go/go1.23.4"}
CONTENT = gguf(400_000)
REPOSITORY = "org/Noise-GGUF"
FILE = "Noise-Q4_K_M.gguf"
DETAILS = {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}


def client_of(server):
    return ollama.Client(host=server.url, timeout=scaled(60), trust_env=False)


@pytest.fixture
def server(daemon, tmp_path):
    return daemon(models={"fake": "fake:"}, store_dir=tmp_path / "store", preload=False)


@pytest.fixture
def client(server):
    return client_of(server)


@pytest.fixture
def stored(server, tiny):
    """The tiny model in the store, as tiny:v1."""
    answer = server.post("/api/models/pull", {"model": f"file:{tiny}", "name": "tiny:v1", "stream": False}, timeout=60)
    assert answer.status == 200, answer
    return "tiny:v1"


@pytest.fixture
def hub():
    hub = Hub()
    hub.add_repository(REPOSITORY, {FILE: CONTENT})
    yield hub
    hub.stop()


@pytest.fixture
def puller(daemon, hub, tmp_path):
    """A server without models that knows the hub."""
    return daemon(models={}, store_dir=tmp_path / "store", environment={"HF_ENDPOINT": hub.url})


def listed(client):
    return {model.model: model for model in client.list().models}


def refused(status, *words):
    """A context that wants the package's error with this status and these words."""

    class Refused:
        def __enter__(self):
            self.inner = pytest.raises(ollama.ResponseError)
            self.info = self.inner.__enter__()
            return self

        def __exit__(self, *what):
            done = self.inner.__exit__(*what)
            error = self.info.value
            assert error.status_code == status, error
            for word in words:
                assert word in error.error, f"{word!r} is not in: {error.error}"
            return done

    return Refused()


# --- is anybody there ---


@pytest.mark.parametrize("agent", ["ollama/0.5.7 (amd64 linux) Go/go1.23.4", "ollama-python/0.6.1", "ollama-js/0.5.0"])
def test_its_clients_find_it_running(server, agent):
    answer = server.fetch("GET", "/", headers={"User-Agent": agent, "Accept": "application/json"})
    assert answer.status == 200 and answer.body == b"Ollama is running"
    assert answer.header("content-type").startswith("text/plain")
    assert server.fetch("HEAD", "/", headers={"User-Agent": agent}).status == 200


def test_others_see_the_page(server):
    for agent in ("curl/8.5.0", "Mozilla/5.0 ollama", None):
        text = server.fetch("GET", "/", headers={"User-Agent": agent}).body
        assert b"Roundhouse" in text and b"Ollama is running" not in text


def test_version(server):
    answer = server.get("/api/version")
    assert answer.status == 200 and set(answer.json()) == {"version"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer.json()["version"])
    assert answer.json()["version"] == server.health()["version"]
    assert server.fetch("HEAD", "/api/version").status == 200


# --- tags ---


def test_list(server, client, stored, tiny):
    models = listed(client)
    assert sorted(models) == ["fake:latest", "tiny:v1"]
    one = models["tiny:v1"]
    assert one.digest == hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert one.size == tiny.stat().st_size
    age = datetime.datetime.now(datetime.timezone.utc) - one.modified_at
    assert datetime.timedelta(seconds=-5) < age < datetime.timedelta(seconds=scaled(120))
    details = one.details
    assert (details.format, details.family, details.families) == ("gguf", "llama", ["llama"])
    assert details.quantization_level == "F32" and re.fullmatch(r"\d+K", details.parameter_size)
    assert models["fake:latest"].details.format == "fake"


def test_tags_byte_by_byte(server, stored):
    answer = server.get("/api/tags")
    assert answer.header("content-type") == "application/json"
    assert set(answer.json()) == {"models"}
    for model in answer.json()["models"]:
        assert set(model) == {"name", "model", "modified_at", "size", "digest", "details"}
        assert model["name"] == model["model"]
        # The command line client cuts twelve characters off without looking.
        assert re.fullmatch(r"[0-9a-f]{64}", model["digest"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", model["modified_at"])
        assert set(model["details"]) == DETAILS
        assert model["details"]["parent_model"] == ""


def test_files_of_a_folder(daemon, tiny, tmp_path):
    """Nobody has hashed them and no manifest describes them: their headers do."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(tiny, folder / "one.gguf")
    os.utime(folder / "one.gguf", (1_700_000_000, 1_700_000_000))
    server = daemon(models={}, models_dir=folder, preload=False)
    client = client_of(server)
    one = listed(client)["one:latest"]
    assert one.modified_at == datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)
    assert (one.details.family, one.details.quantization_level) == ("llama", "F32")
    assert re.fullmatch(r"\d+K", one.details.parameter_size)
    assert listed(client)["one:latest"].digest == one.digest
    os.utime(folder / "one.gguf", (1_700_000_060, 1_700_000_060))
    shutil.copy(tiny, folder / "two.gguf")
    after = poll(lambda: (models := listed(client)) and "two:latest" in models and models, 10, "the second file")
    assert after["one:latest"].digest != one.digest, "the file is another, its digest is not"
    assert after["two:latest"].digest != after["one:latest"].digest
    with refused(409, "models folder"):
        client.delete("one")
    with refused(409, "roundhouse alias"):
        client.copy("one", "three")


def test_no_models(daemon, tmp_path):
    client = client_of(daemon(models={}, store_dir=tmp_path / "store"))
    assert client.list().models == [] and client.ps().models == []
    with refused(404, "model 'any' not found"):
        client.show("any")


# --- show ---


def test_show(client, stored, tiny):
    shown = client.show("tiny:v1")
    assert "<|im_start|>" in shown.template
    assert shown.capabilities == ["completion"]
    assert shown.details.family == "llama"
    info = shown.modelinfo
    assert info["general.architecture"] == "llama"
    assert info["llama.context_length"] > 0 and info["llama.block_count"] == 2
    assert info["llama.embedding_length"] == 64 and info["llama.attention.head_count_kv"] == 2
    assert info["general.parameter_count"] > 1000
    assert "FROM tiny:v1" in shown.modelfile
    assert shown.modified_at is not None


def test_show_byte_by_byte(server, stored):
    # As the command line client sends it.
    body = {"model": "tiny:v1", "system": "", "template": "", "verbose": False, "options": None, "name": ""}
    answer = server.post("/api/show", body)
    assert answer.status == 200, answer
    shown = answer.json()
    assert set(shown) == {"license", "modelfile", "parameters", "template", "details", "model_info", "capabilities",
                          "modified_at"}
    assert set(shown["details"]) == DETAILS
    # The older name of the field.
    assert server.post("/api/show", {"name": "tiny"}).json() == shown
    assert server.post("/api/show", {"model": "", "name": "TINY:V1"}).json() == shown


def test_show_says_the_licence_and_the_context(daemon, hub, tmp_path):
    server = daemon(models={"fake": "fake:"}, store_dir=tmp_path / "store", context=2048,
                    environment={"HF_ENDPOINT": hub.url})
    client = client_of(server)
    client.pull(f"hf:{REPOSITORY}")
    shown = client.show("noise")
    assert shown.license == "apache-2.0" and "apache-2.0" in shown.modelfile
    assert re.fullmatch(r"num_ctx +2048", shown.parameters)
    assert shown.template == ""


def test_show_of_an_engine_without_files(client):
    shown = client.show("fake")
    assert shown.modelinfo["general.architecture"] == "fake" and shown.template == ""
    assert shown.details.family == "fake"


def test_embedding_models_are_told_apart(server, client, tmp_path):
    path = tmp_path / "bert.gguf"
    path.write_bytes(gguf(10_000, architecture="bert"))
    client.pull(f"file:{path}")
    assert client.show("bert").capabilities == ["embedding"]


def test_show_refusals(server):
    for body, status, words in [
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "fak"}, 404, "did you mean 'fake'"),
        ({"model": "smollm2"}, 404, "catalogue"),
        ({}, 400, "model"),
        ({"model": ""}, 400, "model"),
        ({"model": 3}, 400, "model"),
        ({"model": "fake", "modle": "x"}, 400, "modle"),
        ("{", 400, "JSON"),
    ]:
        answer = server.post("/api/show", body)
        assert answer.status == status, (body, answer)
        assert set(answer.json()) == {"error"} and isinstance(answer.json()["error"], str)
        assert words in answer.json()["error"], answer
    answer = server.get("/api/show")
    assert answer.status == 405 and isinstance(answer.json()["error"], str)


# --- names ---


def test_latest(server, client, stored):
    assert client.show("fake:latest").modelinfo == client.show("fake").modelinfo
    assert client.show("tiny:latest").details == client.show("tiny").details
    # What a list shows can be asked for by every road.
    assert server.chat("hi", model="fake:latest").status == 200
    server.post("/api/models/alias", {"alias": "fast", "model": "tiny:v1"})
    assert client.show("fast").template == client.show("fast:latest").template == client.show("tiny").template
    with refused(404, "model 'fast:v9' not found"):
        client.show("fast:v9")


def test_other_names_of_the_catalogue(server, client, tiny):
    server.post("/api/models/pull", {"model": f"file:{tiny}", "name": "smollm2:135m-instruct-q4_1", "stream": False})
    assert list(listed(client)) == ["fake:latest", "smollm2:135m-instruct-q4_1"]
    for name in ("smollm2:135m", "smollm2", "smollm2:latest", "SmolLM2-135M-Instruct"):
        assert client.show(name).modelinfo["llama.block_count"] == 2, name
    with refused(404, "catalogue"):
        client.show("smollm2:360m")


# --- ps ---


def test_ps(server, client):
    assert client.ps().models == []
    assert server.chat("hi", model="fake").status == 200
    running = client.ps().models
    assert [model.model for model in running] == ["fake:latest"]
    one = running[0]
    assert one.digest == listed(client)["fake:latest"].digest
    assert one.size > 0 and one.size_vram == 0 and one.context_length > 0
    left = one.expires_at - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(0) < left <= datetime.timedelta(minutes=6)
    raw = server.get("/api/ps").json()["models"][0]
    assert set(raw) == {"name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"}
    server.post("/api/models/unload", {"model": "fake"})
    assert client.ps().models == []


def test_ps_of_one_that_stays(server, client):
    server.post("/api/models/load", {"model": "fake", "keep_alive": -1})
    one = client.ps().models[0]
    # More than a hundred years is what the command line client calls "Forever".
    assert one.expires_at - datetime.datetime.now(datetime.timezone.utc) > datetime.timedelta(days=36525)


def test_ps_counts_what_the_worker_takes(daemon):
    server = daemon(models={"fake": "fake:memory=64MiB"})
    server.chat("hi")
    server.wait_metric("roundhouse_worker_resident_memory_bytes", lambda value: value > 64 << 20)
    assert client_of(server).ps().models[0].size > 64 << 20


# --- copy and delete ---


def test_copy(server, client, stored):
    assert client.copy("tiny:v1", "mine").status == "success"
    assert sorted(listed(client)) == ["fake:latest", "mine:latest", "tiny:v1"]
    assert listed(client)["mine:latest"].digest == listed(client)["tiny:v1"].digest
    client.copy("tiny", "mine:v2")
    assert "mine:v2" in listed(client)
    with refused(409, "already"):
        client.copy("tiny", "mine")
    with refused(404, "model 'nope' not found"):
        client.copy("nope", "other")
    with refused(409, "roundhouse alias other fake"):
        client.copy("fake", "other")
    with refused(400):
        client.copy("tiny", "../up")
    answer = server.post("/api/copy", {"source": "tiny", "destination": "again"})
    assert answer.status == 200 and answer.body == b"" and answer.header("content-length") == "0"
    assert server.post("/api/copy", {"source": "tiny"}).json()["error"]


def test_delete(server, client, stored):
    client.copy("tiny", "mine")
    assert client.delete("mine").status == "success"
    assert sorted(listed(client)) == ["fake:latest", "tiny:v1"]
    with refused(404, "model 'mine' not found"):
        client.delete("mine")
    with refused(409, "configuration"):
        client.delete("fake:latest")
    server.post("/api/models/alias", {"alias": "fast", "model": "tiny:v1"})
    for name in ("fast", "fast:latest", "tiny:v1"):
        with refused(409, "alias"):
            client.delete(name)
    server.post("/api/models/alias", {"alias": "fast", "model": None})
    answer = server.fetch("DELETE", "/api/delete", {"name": "tiny:v1"})
    assert answer.status == 200 and answer.body == b""
    assert sorted(listed(client)) == ["fake:latest"]


def test_latest_deletes_no_other_version_by_chance(client, stored):
    client.copy("tiny:v1", "tiny:v2")
    with refused(409, "tiny:v1", "tiny:v2"):
        client.delete("tiny:latest")
    client.copy("tiny:v1", "tiny:latest")
    client.delete("tiny:latest")
    assert sorted(listed(client)) == ["fake:latest", "tiny:v1", "tiny:v2"]


# --- pull ---


def statuses(events):
    return [event.status for event in events]


def test_pull(puller, hub):
    client = client_of(puller)
    events = list(client.pull(f"hf:{REPOSITORY}:Q4_K_M", stream=True))
    words = statuses(events)
    short = hashlib.sha256(CONTENT).hexdigest()[:12]
    assert words[0] == "pulling manifest"
    assert words[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert set(words[1:-3]) <= {f"pulling {short}", "verifying sha256 digest"}
    files = [event for event in events if event.digest]
    assert {event.digest for event in files} == {f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"}
    assert files[-1].completed == files[-1].total == len(CONTENT)
    done = [event.completed for event in files]
    assert done == sorted(done)
    assert list(listed(client)) == ["noise:q4_k_m"]
    # Again: nothing is fetched, and the client sees a full bar.
    hub.forget()
    events = list(client.pull("noise:q4_k_m", stream=True))
    assert statuses(events)[0] == "pulling manifest" and statuses(events)[-1] == "success"
    assert events[1].completed == events[1].total == len(CONTENT)
    assert hub.bytes_sent(FILE) == 0


def test_pull_without_a_stream(puller):
    client = client_of(puller)
    answer = client.pull(f"hf:{REPOSITORY}")
    assert answer.status == "success"
    assert list(listed(client)) == ["noise:q4_k_m"]


def test_pull_streams_unless_told_otherwise(puller):
    # As the command line client sends it.
    body = {"model": REPOSITORY, "username": "", "password": "", "name": "", "insecure": True}
    with Lines(puller, "POST", "/api/pull", body) as lines:
        events = list(lines)
    assert lines.head.header("content-type") == "application/x-ndjson"
    assert events[0] == {"status": "pulling manifest"} and events[-1] == {"status": "success"}
    for event in events[1:-3]:
        assert set(event) in ({"status", "digest", "total", "completed"}, {"status"})
    assert all(one != other for one, other in zip(events, events[1:])), "a line was told twice"


def test_pull_of_a_hub_name(puller):
    """It is stored under the name by which the client goes on to ask for it."""
    client = client_of(puller)
    name = f"hf.co/{REPOSITORY}:Q4_K_M"
    assert client.pull(name).status == "success"
    assert list(listed(client)) == [name]
    assert client.show(name).details.family == "llama"
    assert client.pull(f"huggingface.co/{REPOSITORY}:latest").status == "success"
    assert client.show(f"huggingface.co/{REPOSITORY}").details.family == "llama"
    client.delete(name)
    assert name not in listed(client)


def test_pull_shows_bars_of_files_without_a_digest(puller, tiny):
    events = list(client_of(puller).pull(f"file:{tiny}", stream=True))
    assert events[1].digest and events[1].status.startswith("pulling ")
    assert statuses(events)[-1] == "success"


def test_pull_of_what_lies_where_it_is_used(server, client):
    assert client.pull("fake").status == "success"
    assert statuses(client.pull("fake:latest", stream=True)) == ["success"]
    assert server.metric("roundhouse_pulls_total", default=0) == 0


def test_a_file_of_ones_own_is_not_replaced_by_the_catalogues(daemon, tmp_path):
    server = daemon(models={"smollm2": "fake:"}, store_dir=tmp_path / "store", preload=False,
                    environment={"ROUNDHOUSE_OFFLINE": "1"})
    client = client_of(server)
    assert client.pull("smollm2").status == client.pull("smollm2:latest").status == "success"
    with refused(503, "OFFLINE"):
        client.pull("smollm2:360m")


def test_a_line_is_not_told_twice(daemon, puller, hub, tmp_path):
    """Another server pulls the same into the same store: this one says once that it waits, not once a second."""
    other = daemon(models={}, store_dir=tmp_path / "store", environment={"HF_ENDPOINT": hub.url})
    served = hub.files[next(path for path in hub.files if path.endswith(FILE))]
    served.gate = threading.Event()
    body = {"model": f"hf:{REPOSITORY}"}
    with ExitStack() as open_now:

        def ask(server, path):
            return open_now.enter_context(Lines(server, "POST", path, body))

        first = ask(other, "/api/models/pull")
        poll(lambda: hub.requests_for(FILE), 10, "the other server's pull")
        events, lines = ask(puller, "/api/models/pull"), ask(puller, "/api/pull")
        told = iter(events)
        waits = 0
        while waits < 3:
            waits += next(told)["event"] == "waiting"
        served.gate.set()
        said = [line["status"] for line in lines]
        assert list(first)[-1]["event"] == "done"
    assert len([status for status in said if status.startswith("waiting for")]) == 1, said
    assert said[-1] == "success"


def test_pull_refusals(puller, hub):
    client = client_of(puller)
    with refused(404, "org/none"):
        client.pull("hf:org/none")
    with refused(404):
        client.pull("no-such-model")
    # Nothing had been streamed yet, so the status says it too.
    with refused(404):
        list(client.pull("no-such-model", stream=True))
    with refused(404, "Q2_K"):
        client.pull(f"hf.co/{REPOSITORY}:Q2_K")
    for body in ({}, {"model": "x", "sorce": "y"}, {"model": "x", "stream": "yes"}, {"model": "-x"},
                 {"model": "x", "username": "me", "password": "secret"}):
        answer = puller.post("/api/pull", body)
        assert answer.status == 400, (body, answer)
        assert set(answer.json()) == {"error"}
    assert "secret" not in puller.log_text()
    assert client.list().models == []


def test_an_error_in_the_middle_of_a_pull(puller, hub):
    served = hub.files[next(path for path in hub.files if path.endswith(FILE))]
    served.content = gguf(400_000, seed=7)  # not what the listing promised
    with Lines(puller, "POST", "/api/pull", {"model": f"hf:{REPOSITORY}"}) as lines:
        events = list(lines)
    assert lines.head.status == 200
    assert set(events[-1]) == {"error"} and "sha256" in events[-1]["error"].lower().replace("-", ""), events
    with pytest.raises(ollama.ResponseError, match="(?i)sha-?256"):
        list(client_of(puller).pull(f"hf:{REPOSITORY}", stream=True))
    assert client_of(puller).list().models == []


# --- what there is not ---


def test_create_and_push_say_what_to_do_instead(client):
    with refused(400, "/api/pull"):
        client.create("mine", from_="fake", system="You are a pirate.")
    with refused(400, "hub"):
        client.push("fake")


# --- and the other client ---


def test_async_client(puller):
    async def talk():
        client = ollama.AsyncClient(host=puller.url, timeout=scaled(60), trust_env=False)
        words = [event.status async for event in await client.pull(f"hf:{REPOSITORY}", stream=True)]
        names = [model.model for model in (await client.list()).models]
        shown = await client.show(names[0])
        await client.copy(names[0], "mine")
        await client.delete("mine")
        with pytest.raises(ollama.ResponseError):
            await client.show("mine")
        running = (await client.ps()).models
        return words, names, shown, running

    words, names, shown, running = asyncio.run(talk())
    assert words[-1] == "success" and names == ["noise:q4_k_m"]
    assert shown.details.format == "gguf" and running == []

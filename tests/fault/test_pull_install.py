# SPDX-License-Identifier: Apache-2.0
"""What a pull makes of what it fetched: models of the catalogue, and safetensors that are converted on the way in."""

import hashlib
import json
import os
import struct
import sys

import pytest

from harness.hub import gguf
from harness.pulling import Pull, installed

SMALL = gguf(300_000)
FILE = "Noise-Q4_K_M.gguf"


@pytest.fixture
def pull(tmp_path, hub):
    def start(source, **options):
        return Pull(tmp_path, source, {"HF_ENDPOINT": hub.url}, **options)

    return start


def digest(content):
    return hashlib.sha256(content).hexdigest()


# --- the catalogue ---


@pytest.fixture
def catalogue(tmp_path):
    def write(**changes):
        entry = {
            "source": f"hf:org/noise:{FILE}", "format": "gguf", "quantization": "Q4_K_M", "task": "embeddings",
            "license": "MIT", "bytes": len(SMALL), "files": [{"path": FILE, "bytes": len(SMALL), "sha256": digest(SMALL)}],
        }  # fmt: skip
        path = tmp_path / "catalogue.json"
        path.write_text(json.dumps({"our-noise:small": {**entry, **changes}}))
        return path

    return write


def test_by_the_catalogues_name(pull, hub, catalogue):
    hub.add_repository("org/noise", {FILE: SMALL, "Noise-Q8_0.gguf": gguf(5000)})
    one = pull("our-noise", catalogue=catalogue())
    done = one.succeeds()
    assert (done["name"], done["version"]) == ("our-noise", "small")
    manifest = installed(one.store)["our-noise:small"]
    assert manifest["license"] == "MIT" and manifest["task"] == "embeddings"
    assert manifest["source"] == f"hf:org/noise:{FILE}"
    # Its digests are in the catalogue, so nobody has to be asked whether it is the right one.
    hub.forget()
    assert pull("our-noise:small", catalogue=catalogue()).succeeds()["already"] is True
    assert pull("our-noise:small", catalogue=catalogue(), offline=1).succeeds()["already"] is True
    assert hub.connections == 0


def test_source_has_another_file_than_the_catalogue(pull, hub, catalogue):
    hub.add_repository("org/noise", {FILE: gguf(300_000, seed=7)})
    pull("our-noise", catalogue=catalogue()).fails("invalid", FILE, digest(SMALL), "catalogue")
    hub.add_repository("org/noise", {"other.gguf": SMALL})
    pull("our-noise", catalogue=catalogue()).fails("not_found", FILE, "our-noise")
    assert hub.bytes_sent() == 0


def test_server_sends_another_file_than_the_catalogue(pull, hub, catalogue):
    """The hub's listing is right, its bytes are not."""
    served = hub.add_repository("org/noise", {FILE: SMALL})[FILE]
    served.content = gguf(300_000, seed=7)
    pull("our-noise", catalogue=catalogue()).fails("invalid", digest(SMALL), digest(served.content))


def test_unknown_name_is_told_the_nearest(pull, catalogue):
    pull("our-nose:small", catalogue=catalogue()).fails("not_found", "our-noise")
    pull("our-noise:large", catalogue=catalogue()).fails("not_found", "versions", "small")


# --- safetensors ---


def safetensors():
    header = json.dumps({"w": {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(128)


FOLDER = {
    "config.json": b'{"model_type":"llama","architectures":["LlamaForCausalLM"]}',
    "model.safetensors": safetensors(),
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"PK\x03\x04 a pickle",
    "README.md": b"# hello",
}


@pytest.fixture
def converter(tmp_path):
    """Stands in for roundhouse-convert: the same words, and a GGUF that says what it was asked."""

    def write(body):
        path = tmp_path / "converter"
        path.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"def say(**event): print(json.dumps(event), flush=True)\n"
            f"source, out = sys.argv[2], sys.argv[3]\n{body}\n"
        )
        path.chmod(0o755)
        return path

    return write


GOOD = f"""
assert sys.argv[1] == "convert" and "--json" in sys.argv
assert sorted(name for name in os.listdir(source) if name[0] != ".") == ["config.json", "model.safetensors", "tokenizer.json"]
say(event="progress", fraction=0.5)
open(out, "wb").write({gguf(5000)!r})
say(event="done", path=out)
"""


def test_converted_on_the_way_in(pull, hub, converter):
    hub.add_repository("org/tiny", FOLDER)
    one = pull("hf:org/tiny", convert=1, converter=converter(GOOD))
    assert one.succeeds()["format"] == "gguf"
    assert 0.5 in [event["fraction"] for event in one.of("converting")]
    assert one.of("resolved")[0]["format"] == "safetensors"
    files = installed(one.store)["tiny:latest"]["files"]
    assert [entry["path"] for entry in files] == ["tiny.gguf"]
    # The same again is known by its commit, though the files are others now.
    hub.forget()
    assert pull("hf:org/tiny", convert=1, converter=converter(GOOD)).succeeds()["already"] is True
    assert hub.bytes_sent("model.safetensors") == 0


def test_original_is_kept_when_asked(pull, hub, converter):
    hub.add_repository("org/tiny", FOLDER)
    one = pull("hf:org/tiny", convert=1, keep_original=1, converter=converter(GOOD))
    one.succeeds()
    files = installed(one.store)["tiny:latest"]["files"]
    assert {entry["path"] for entry in files} == {"config.json", "model.safetensors", "tokenizer.json", "tiny.gguf"}


def test_not_converted_when_not_asked(pull, hub):
    hub.add_repository("org/tiny", FOLDER)
    one = pull("hf:org/tiny", convert=0)
    assert one.succeeds()["format"] == "safetensors"
    assert len(installed(one.store)["tiny:latest"]["files"]) == 3


@pytest.mark.parametrize(
    "body, status, word",
    [
        ('say(event="error", status="unsupported", message="no such architecture: foo"); sys.exit(1)', "unsupported", "foo"),
        ('sys.stderr.write("it broke\\n"); sys.exit(3)', "io", "it broke"),
        ('say(event="progress", fraction=0.1); os.kill(os.getpid(), 9)', "io", "signal 9"),
        ('say(event="done")', "io", "no file"),
        ('print("no json"); print("[" * 5000)', "io", "exit status 0"),
    ],
    ids=["says no", "fails", "dies", "lies", "babbles"],
)  # fmt: skip
def test_conversion_that_fails(pull, hub, converter, body, status, word):
    hub.add_repository("org/tiny", FOLDER)
    one = pull("hf:org/tiny", convert=1, converter=converter(body))
    one.fails(status, word)
    # What was fetched is kept: the next try does not fetch it again.
    sent = hub.bytes_sent("model.safetensors")
    pull("hf:org/tiny", convert=1, converter=converter(GOOD)).succeeds()
    assert hub.bytes_sent("model.safetensors") == sent


def test_no_converter(pull, hub):
    hub.add_repository("org/tiny", FOLDER)
    pull("hf:org/tiny", convert=1, converter="/nowhere/roundhouse-convert").fails("not_found", "roundhouse-convert")


def test_broken_safetensors(pull, hub):
    broken = {**FOLDER, "model.safetensors": safetensors()[:-20]}
    hub.add_repository("org/tiny", broken)
    one = pull("hf:org/tiny", convert=0)
    assert one.wait() == 1 and one.events[-1]["status"] == "invalid"
    assert installed(one.store) == {}


def test_cut_gguf_at_the_source(pull, hub):
    """The hub's own file is cut short: its digest is right, and it is no model all the same."""
    hub.add_repository("org/noise", {FILE: SMALL[:-5000]})
    one = pull("hf:org/noise")
    one.fails("invalid")
    assert not list((one.store / "partial").rglob("*.gguf*"))
    assert os.path.isdir(one.store)

# SPDX-License-Identifier: Apache-2.0
"""Offline means no connection at all, not even a question to a name server; what is stored works."""

import re

import pytest

from harness.hub import Hub, gguf
from harness.pulling import Pull, installed

SMALL = gguf(300_000)
FILE = "Noise-Q4_K_M.gguf"
SOURCE = "hf:org/noise:Q4_K_M"

# Anything but sockets of this process with itself.
CONNECTS = re.compile(r"(?:connect|sendto|sendmsg)\(.*AF_INET")


@pytest.fixture
def hub():
    hub = Hub()
    hub.add_repository("org/noise", {FILE: SMALL})
    hub.add_file("/x.gguf", SMALL)
    yield hub
    hub.stop()


def traced(tmp_path, name, source, hub, **options):
    trace = tmp_path / f"{name}.strace"
    prefix = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    # The leak checker cannot work while strace looks on; other tests run the same code with it.
    environment = {"HF_ENDPOINT": hub, "ASAN_OPTIONS": "detect_leaks=0"}
    return Pull(tmp_path, source, environment, prefix=prefix, **options), trace


def test_the_proof_can_fail(tmp_path, hub):
    one, trace = traced(tmp_path, "online", SOURCE, hub.url)
    one.succeeds()
    assert CONNECTS.search(trace.read_text()), "strace saw no connection of a pull that made some"
    assert hub.connections > 0


@pytest.mark.parametrize(
    "source",
    [SOURCE, "hf:org/noise", "https://model-host.example/x.gguf", "s3://bucket/x.gguf", "pypi:some-model",
     "npm:some-model"],
)  # fmt: skip
def test_no_connection(tmp_path, hub, source):
    one, trace = traced(tmp_path, "offline", source, hub.url, offline=1)
    one.fails("offline", "ROUNDHOUSE_OFFLINE")
    assert not CONNECTS.search(trace.read_text()), trace.read_text()
    assert hub.connections == 0


def test_no_connection_where_a_name_would_be_asked_for(tmp_path, hub):
    one, trace = traced(tmp_path, "name", SOURCE, "http://hub-host.example", offline=1)
    one.fails("offline")
    assert not CONNECTS.search(trace.read_text()), trace.read_text()


def test_what_is_stored_works(tmp_path, hub):
    Pull(tmp_path, SOURCE, {"HF_ENDPOINT": hub.url}).succeeds()
    hub.forget()
    one, trace = traced(tmp_path, "stored", SOURCE, hub.url, offline=1)
    assert one.succeeds()["already"] is True
    assert one.of("resolved")[0]["already"] is True
    assert not CONNECTS.search(trace.read_text()), trace.read_text()
    assert hub.connections == 0
    assert len(installed(one.store)) == 1

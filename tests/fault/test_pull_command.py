# SPDX-License-Identifier: Apache-2.0
"""`roundhouse pull` itself: what it prints, its exit status, and what it does when it is interrupted."""

import signal

import pytest

from harness.hub import gguf
from harness.pulling import PullCommand, installed
from harness.wait import poll, scaled

MIB = 1024 * 1024
CONTENT = gguf(40 * MIB, seed=2)
FILE = "Noise-Q4_K_M.gguf"
SOURCE = "hf:org/noise:Q4_K_M"


@pytest.fixture
def served(hub):
    return hub.add_repository("org/noise", {FILE: CONTENT})[FILE]


def test_command_pulls(hub, served, tmp_path):
    one = PullCommand(tmp_path, SOURCE, {"HF_ENDPOINT": hub.url}, name="mine:v2")
    assert one.succeeds()["version"] == "v2"
    assert list(installed(one.store)) == ["mine:v2"]


def test_command_fails(hub, served, tmp_path):
    PullCommand(tmp_path, "hf:org/nothing", {"HF_ENDPOINT": hub.url}).fails("not_found", "org/nothing")


def test_command_offline(hub, served, tmp_path):
    environment = {"HF_ENDPOINT": hub.url, "ROUNDHOUSE_OFFLINE": "1"}
    PullCommand(tmp_path, SOURCE, environment).fails("offline", "ROUNDHOUSE_OFFLINE")
    assert hub.connections == 0
    PullCommand(tmp_path, SOURCE, {"HF_ENDPOINT": hub.url}).succeeds()
    hub.forget()
    assert PullCommand(tmp_path, SOURCE, environment).succeeds()["already"] is True
    assert hub.connections == 0


@pytest.mark.parametrize("where", ["bytes", "retry"])
def test_command_interrupted(hub, served, tmp_path, where):
    """Ctrl-C while bytes come, and while it waits to ask the hub again: it ends soon and what has come is kept."""
    if where == "bytes":
        served.delay = 0.01
    else:
        hub.api_fail = [(503, {"Retry-After": "100"}, b"")]
    one = PullCommand(tmp_path, SOURCE, {"HF_ENDPOINT": hub.url})
    if where == "bytes":
        one.wait_event("progress", lambda event: event["completed"] > 0)
    else:
        one.wait_event("retry")
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(scaled(10)) == 130
    assert installed(one.store) == {}
    served.delay = 0
    hub.forget()
    two = PullCommand(tmp_path, SOURCE, {"HF_ENDPOINT": hub.url})
    two.succeeds()
    if where == "bytes":
        assert two.of("resolved")[0]["missing_bytes"] < len(CONTENT)
        assert hub.bytes_sent(FILE) == two.of("resolved")[0]["missing_bytes"]
    poll(lambda: not list((two.store / "partial").rglob("*.part")), 5, "an empty partial folder")

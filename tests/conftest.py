# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the wire, fault and e2e suites. See tests/README.md."""

import os
import subprocess
import sys

import pytest

from harness.daemon import ROOT, Factory
from harness.hub import Hub
from harness.upstream import Upstream
from harness.wait import SCALE


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: of e2e; uses all cores for long, or measures time: nothing may run beside it")
    config.addinivalue_line("markers", "first: takes minutes of waiting; begins first, and all others run beside it")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120 * SCALE))


def judged(factory):
    problems = factory.judge()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def daemon(tmp_path):
    """A factory: daemon(models={"name": "fake:..."}, queue_max=1, ...) starts a daemon and gives its handle."""
    factory = Factory(tmp_path)
    yield factory
    judged(factory)


@pytest.fixture
def fake(daemon):
    """One daemon with one fake model of four slots."""
    return daemon()


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory):
    """The same factory for daemons that all tests of a file share."""
    factory = Factory(tmp_path_factory.mktemp("shared"))
    yield factory
    judged(factory)


@pytest.fixture(scope="session")
def smollm2():
    """The default chat model's file. Missing is a failure, never a skip: a suite that skips proves nothing."""
    path = os.environ.get("RH_TEST_MODEL") or ROOT / "deps" / "models" / "smollm2-135m-instruct.gguf"
    if not os.path.exists(path):
        pytest.fail(f"{path} is missing: run 'make deps' to get it, or set RH_TEST_MODEL", pytrace=False)
    return str(path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A GGUF file that is whole: a llama with a chat template, which answers nonsense in milliseconds."""
    path = tmp_path_factory.mktemp("files") / "tiny.gguf"
    subprocess.run([sys.executable, ROOT / "scripts" / "make_tiny_gguf.py", path], check=True)
    return path


@pytest.fixture
def upstream():
    """A provider on loopback that answers, or fails, on command."""
    with Upstream() as server:
        yield server


@pytest.fixture
def hub():
    """A model hub that can misbehave."""
    hub = Hub()
    yield hub
    hub.stop()

# SPDX-License-Identifier: Apache-2.0
"""What the operating system sees: linked libraries, memory, start-up, a second daemon on the same port."""

import re
import subprocess
import time

import pytest

from harness.daemon import ROUNDHOUSE, clean_environment
from harness.procs import rss_bytes
from harness.wait import SCALE, scaled


def test_daemon_links_no_inference_library():
    linked = subprocess.run(["ldd", ROUNDHOUSE], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in linked
    assert not re.search("llama|ggml|onnx|cuda|vulkan", linked, re.IGNORECASE), linked
    assert "not found" not in linked


def test_second_daemon_on_the_same_port(daemon, tmp_path):
    server = daemon()
    listen = f"127.0.0.1:{server.address[1]}"
    second = subprocess.run(
        [ROUNDHOUSE, "serve", "--listen", listen, "--model", "fake=fake:"],
        capture_output=True,
        text=True,
        timeout=scaled(20),
        cwd=tmp_path,
        env=clean_environment(tmp_path),
    )
    assert second.returncode != 0
    assert listen in second.stderr
    assert re.search("in use", second.stderr)
    assert server.chat("hi").status == 200


@pytest.mark.alone
def test_daemon_starts_fast_and_small(daemon):
    began = time.monotonic()
    server = daemon(preload=False)
    started = time.monotonic() - began
    # The design asks for 50 ms; the harness polls and Python forks, and a busy machine is slow.
    assert started < scaled(1)
    if SCALE == 1:
        assert server.rss() < 20e6


def test_worker_memory_comes_back(daemon, smollm2):
    """The daemon's own memory does not follow the model's: that is the worker's."""
    server = daemon(models={"smollm2": smollm2})
    assert server.chat("hi", max_tokens=2).status == 200
    assert rss_bytes(server.worker_pid()) > 60e6
    if SCALE == 1:
        assert server.rss() < 20e6


def test_restart_on_the_same_port(daemon):
    """A daemon that ended leaves its port free for the next one at once."""
    first = daemon()
    first.chat("hi")
    port = first.address[1]
    assert first.stop() == 0
    second = daemon(listen=f"127.0.0.1:{port}")
    assert second.chat("hi").status == 200

# SPDX-License-Identifier: Apache-2.0
"""Model files that are small, broken, lying, missing or no models at all. The only faults that need the llama engine,
so that the others can run in a build without it (thread sanitizer)."""

import os
import subprocess
import sys

import pytest

from harness.daemon import ROOT

QUICK = {"backoff_min": "20ms", "backoff_max": "200ms"}
HELLO = "This is the fake engine speaking; it repeats"


def make_gguf(path, *options):
    subprocess.run([sys.executable, ROOT / "scripts" / "make_tiny_gguf.py", path, *options], check=True)
    return path


def test_tiny_model_answers(daemon, tmp_path):
    server = daemon(models={"tiny": make_gguf(tmp_path / "tiny.gguf")})
    first = server.post("/v1/completions", {"prompt": "the", "temperature": 0, "max_tokens": 12})
    assert first.status == 200, first
    again = server.post("/v1/completions", {"prompt": "the", "temperature": 0, "max_tokens": 12})
    assert again.json()["choices"] == first.json()["choices"]
    assert first.json()["usage"]["completion_tokens"] == 12


@pytest.mark.parametrize("options", [("--truncate", "6000"), ("--truncate", "100000"), ("--lie",)], ids=" ".join)
def test_broken_model_file(daemon, tmp_path, options):
    """Whether the header is read at start or by the worker, the reason comes out and the daemon lives."""
    broken = make_gguf(tmp_path / "broken.gguf", *options)
    server = daemon(models={"broken": broken, "fake": "fake:"}, default_model="fake", **QUICK)
    server.expect_errors("broken", '"message": "llama"')
    answer = server.chat("hi", model="broken", wait=60)
    assert answer.status in (500, 503), answer
    assert answer.header("x-should-retry") == "false"
    assert len(answer.error()["message"]) > 20
    assert server.chat("hi", model="fake").json()["choices"][0]["message"]["content"] == HELLO


def test_file_that_is_no_model(daemon, tmp_path):
    """Refused when the daemon starts, with the file's name: nobody should find that out from a client."""
    path = tmp_path / "notes.gguf"
    path.write_text("this is not a model\n" * 100)
    server = daemon(models={"notes": path}, wait=False)
    server.bad_end_expected = True
    assert server.wait_exit() != 0
    assert "notes.gguf" in server.log_text()


def test_model_file_that_vanished(daemon, tmp_path):
    path = make_gguf(tmp_path / "tiny.gguf")
    server = daemon(models={"tiny": path}, preload=False, **QUICK)
    server.expect_errors("tiny", '"message": "llama"')
    os.unlink(path)
    answer = server.chat("hi", wait=60)
    assert answer.status == 500, answer
    assert "tiny.gguf" in answer.error()["message"]

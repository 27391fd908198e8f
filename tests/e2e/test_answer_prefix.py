# SPDX-License-Identifier: Apache-2.0
"""A model goes on with an answer that another one began: asked through the worker's socket, as the daemon asks it."""

import json
import socket
import struct
import subprocess

import pytest

from harness.daemon import WORKER, clean_environment
from harness.wait import scaled

HEADER = struct.Struct("<IBBHII")  # length, type, flags, reserved, stream, json_length
HELLO, LOAD, LOADED, RUN, EVENT, UNLOAD, GOODBYE = 1, 2, 3, 5, 6, 10, 13
WHOLE, BEGUN = 24, 10  # tokens


class Worker:
    def __init__(self, folder):
        ours, theirs = socket.socketpair()
        self.log = open(folder / "worker.log", "wb")
        command = [str(WORKER), "--fd", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stderr=self.log, env=clean_environment(folder)
        )
        theirs.close()
        ours.settimeout(scaled(60))
        self.socket = ours
        self.stream = 0
        self.wait_for(HELLO)

    def send(self, kind, stream, body=None, tail=b""):
        text = json.dumps(body).encode() if body is not None else b""
        self.socket.sendall(HEADER.pack(12 + len(text) + len(tail), kind, 0, 0, stream, len(text)) + text + tail)

    def read_exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the worker has gone"
            data += piece
        return data

    def wait_for(self, *kinds):
        while True:
            length, kind, _, _, _, json_length = HEADER.unpack(self.read_exactly(HEADER.size))
            rest = self.read_exactly(length - 12)
            if kind in kinds:
                return json.loads(rest[:json_length] or b"{}")

    def load(self, path):
        self.send(LOAD, 0, {"engine": "llama", "path": path, "context": 1024, "slots": 1, "threads": 1})
        assert "engine" in self.wait_for(LOADED, EVENT)

    def run(self, prompt, max_tokens, tail=b"", **more):
        """The pieces of a greedy answer, and its usage."""
        self.stream += 1
        task = "chat" if "messages" in prompt else "complete"
        generate = {"max_tokens": max_tokens, "temperature": 0} | more.pop("generate", {})
        body = {"request_id": "r", "task": task, "credit": 1000, "generate": generate, **prompt, **more}
        self.send(RUN, self.stream, body, tail)
        pieces, usage = [], None
        while True:
            event = self.wait_for(EVENT)
            if event["event"] == "delta":
                pieces.append(event["text"])
            elif event["event"] == "usage":
                usage = event
            elif event["event"] in ("end", "error"):
                return pieces, usage, event

    def stop(self):
        self.send(UNLOAD, 0)
        self.wait_for(GOODBYE)
        assert self.process.wait(scaled(10)) == 0
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        self.log.close()


@pytest.fixture(scope="module")
def worker(smollm2, tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("worker"))
    try:
        worker.load(smollm2)
        yield worker
        worker.stop()
    finally:
        worker.close()


IDS = [2, 504, 3575, 314, 260]  # any tokens of the vocabulary
PROMPTS = {
    "chat": ({"messages": [{"role": "user", "content": "What is gravity? Say it in two sentences."}]}, b""),
    "text": ({"text": "Once upon a time there was a railway engineer who"}, b""),
    "ids": ({}, struct.pack(f"<{len(IDS)}i", *IDS)),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_the_rest_is_the_same(worker, kind):
    prompt, tail = PROMPTS[kind]
    pieces, usage, end = worker.run(prompt, WHOLE, tail)
    assert usage["completion_tokens"] == WHOLE and len(pieces) == WHOLE
    assert end["finish"] == "length"
    begun, rest = "".join(pieces[:BEGUN]), "".join(pieces[BEGUN:])
    again, usage_again, end = worker.run(prompt, WHOLE - BEGUN, tail, prefix=begun)
    assert "".join(again) == rest
    assert end["finish"] == "length"
    assert usage_again["prompt_tokens"] == usage["prompt_tokens"] + BEGUN
    assert usage_again["completion_tokens"] == WHOLE - BEGUN


def test_it_says_something_else_after_other_words(worker):
    prompt, _ = PROMPTS["chat"]
    plain, _, _ = worker.run(prompt, WHOLE)
    french, _, _ = worker.run(prompt, WHOLE, prefix="La gravité est")
    assert "".join(plain) != "".join(french)
    empty, _, _ = worker.run(prompt, WHOLE, prefix="")
    assert empty == plain


def test_stop_strings_are_looked_for_in_the_rest_only(worker):
    prompt, tail = PROMPTS["text"]
    pieces, _, _ = worker.run(prompt, WHOLE, tail)
    begun, rest = "".join(pieces[:BEGUN]), "".join(pieces[BEGUN:])
    stop = rest[8:12]
    again, _, end = worker.run(prompt, WHOLE - BEGUN, tail, prefix=begun, generate={"stop": [stop]})
    assert "".join(again) == rest[: rest.index(stop)]
    assert end["finish"] == "stop" and end["stop"] == stop
    first = begun[1:5]
    again, _, _ = worker.run(prompt, 2, tail, prefix=begun, generate={"stop": [first]})
    assert rest.startswith("".join(again)) and again


def test_a_prefix_takes_room_in_the_context(worker):
    prompt, _ = PROMPTS["text"]
    _, _, end = worker.run(prompt, 4, prefix=" word" * 1100)
    assert end["event"] == "error" and end["status"] == "context_overflow"
    assert "1024" in end["message"]

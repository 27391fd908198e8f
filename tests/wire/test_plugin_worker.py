# SPDX-License-Identifier: Apache-2.0
"""A worker that is not ours: examples/echo_worker.py speaks the wire protocol from its document alone."""

import json
from concurrent.futures import ThreadPoolExecutor

from harness.daemon import ROOT

WORKER = ROOT / "examples" / "echo_worker.py"


def echo(daemon):
    return daemon(models={"echo": "fake:"}, worker=str(WORKER))


def test_it_answers(daemon):
    server = echo(daemon)
    answer = server.chat("one two three").json()
    assert answer["choices"][0]["message"]["content"] == "one two three"
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["roundhouse"]["engine"] == "echo"


def test_it_streams_side_by_side_and_past_its_credit(daemon):
    server = echo(daemon)
    words = [f"w{i}" for i in range(300)]  # several windows of credit

    def ask(offset):
        prompt = " ".join(words[offset:])
        answer = server.post("/v1/completions", {"prompt": prompt, "stream": True, "max_tokens": 400})
        events = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: {")]
        return prompt, "".join(json.loads(event)["choices"][0]["text"] for event in events)

    with ThreadPoolExecutor(8) as pool:
        for prompt, text in pool.map(ask, range(8)):
            assert text == prompt


def test_max_tokens_is_kept(daemon):
    server = echo(daemon)
    answer = server.post("/v1/completions", {"prompt": "a b c d", "max_tokens": 2}).json()
    assert answer["choices"][0] == {"index": 0, "text": "a b", "logprobs": None, "finish_reason": "length"}

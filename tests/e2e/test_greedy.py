# SPDX-License-Identifier: Apache-2.0
"""Greedy answers equal those of another implementation of the same file (reference/greedy.json, see make_greedy.py)."""

import hashlib
import json
from pathlib import Path

import pytest

REFERENCE = json.loads(Path(__file__).with_name("reference").joinpath("greedy.json").read_text(encoding="utf-8"))


def test_reference_is_of_this_model(smollm2):
    assert hashlib.sha256(Path(smollm2).read_bytes()).hexdigest() == REFERENCE["model_sha256"]


def test_reference_is_sure(smollm2):
    assert len(REFERENCE["cases"]) >= 6
    for case in REFERENCE["cases"]:
        assert case["margin_min"] > REFERENCE["margin"]
        assert len(case["token_ids"]) == REFERENCE["max_tokens"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["kind"])
def test_greedy_equals_reference(client, case, stream):
    options = {"model": "smollm2", "temperature": 0, "max_tokens": REFERENCE["max_tokens"], "stream": stream}
    if stream:
        options["stream_options"] = {"include_usage": True}
    if case["kind"] == "chat":
        answer = client.chat.completions.create(messages=case["messages"], **options)
    else:
        answer = client.completions.create(prompt=case["prompt"], **options)
    if stream:
        chunks = list(answer)
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
        pieces = [choice.delta.content if case["kind"] == "chat" else choice.text for choice in choices]
        text, usage = "".join(piece or "" for piece in pieces), chunks[-1].usage
    else:
        choice = answer.choices[0]
        text, usage = choice.message.content if case["kind"] == "chat" else choice.text, answer.usage
    assert text == case["text"]
    assert usage.prompt_tokens == case["prompt_tokens"]
    assert usage.completion_tokens == REFERENCE["max_tokens"]


# What the model's own template says where a conversation has no system message.
DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def test_template_adds_its_system_message(client):
    options = {"model": "smollm2", "temperature": 0, "max_tokens": 8}
    user = [{"role": "user", "content": "What is the capital of France?"}]
    alone = client.chat.completions.create(messages=user, **options)
    told = client.chat.completions.create(messages=[{"role": "system", "content": DEFAULT_SYSTEM}, *user], **options)
    # As llama-server --jinja counts them.
    assert alone.usage.prompt_tokens == told.usage.prompt_tokens == 37
    assert alone.choices[0].message.content == told.choices[0].message.content

# SPDX-License-Identifier: Apache-2.0
"""Ollama's model calls by its own Python package, about the default model."""

import datetime
import os
import re

import ollama
import pytest

from harness.clients import openai_client
from harness.wait import scaled


@pytest.fixture(scope="module")
def fresh(module_daemon, smollm2):
    """A server of its own: the shared one has its model loaded already."""
    return module_daemon(models={"smollm2": smollm2}, slots=2, context=2048, preload=False)


@pytest.fixture(scope="module")
def client(fresh):
    return ollama.Client(host=fresh.url, timeout=scaled(120), trust_env=False)


def test_what_the_file_says_without_loading_it(fresh, client, smollm2):
    assert client.ps().models == []
    (model,) = client.list().models
    assert model.model == "smollm2:latest" and model.size == os.path.getsize(smollm2)
    details = model.details
    assert (details.format, details.family, details.parameter_size) == ("gguf", "llama", "135M")
    assert re.fullmatch(r"Q\d_[01K]\w*|F16|BF16", details.quantization_level), details
    shown = client.show(model.model)
    info = shown.modelinfo
    assert info["general.architecture"] == "llama"
    assert info["llama.context_length"] == 8192
    assert info["llama.block_count"] == 30 and info["llama.embedding_length"] == 576
    assert info["llama.attention.head_count"] == 9 and info["llama.attention.head_count_kv"] == 3
    assert info["llama.vocab_size"] == 49152
    assert 130e6 < info["general.parameter_count"] < 140e6
    assert "<|im_start|>" in shown.template and "message" in shown.template
    assert shown.capabilities == ["completion"]
    assert re.fullmatch(r"num_ctx +2048", shown.parameters)
    assert client.ps().models == [], "looking has loaded the model"


def test_ps_after_a_request(fresh, client, smollm2):
    name = client.list().models[0].model
    before = client.show(name).modelinfo
    answer = openai_client(fresh).chat.completions.create(
        model=name, messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
    )
    assert answer.choices[0].message.content
    (running,) = client.ps().models
    assert running.model == running.name == name
    assert running.context_length == 2048
    assert running.size > os.path.getsize(smollm2) / 2 and running.size_vram in range(running.size + 1)
    assert running.digest == client.list().models[0].digest
    left = running.expires_at - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(0) < left < datetime.timedelta(hours=1)
    # What the worker says of the model is what its file says.
    assert client.show(name).modelinfo == before
    assert client.list().models[0].details.parameter_size == "135M"

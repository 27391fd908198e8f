# SPDX-License-Identifier: Apache-2.0
"""Real client packages, pointed at a daemon under test."""

import anthropic
import ollama
import openai

from harness.wait import scaled


def openai_client(daemon, **options):
    options.setdefault("max_retries", 0)
    options.setdefault("timeout", scaled(120))
    return openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", **options)


def async_openai_client(daemon, **options):
    options.setdefault("max_retries", 0)
    options.setdefault("timeout", scaled(120))
    return openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="none", **options)


def ollama_client(daemon, **options):
    options.setdefault("timeout", scaled(120))
    return ollama.Client(host=daemon.url, trust_env=False, **options)


def anthropic_client(daemon, **options):
    options.setdefault("max_retries", 0)
    options.setdefault("timeout", scaled(120))
    return anthropic.Anthropic(base_url=daemon.url, api_key="none", **options)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make greedy.json: what a second implementation of the same file answers when it always takes the likeliest token.

    tests/e2e/reference/make_greedy.py --server PATH/llama-server --model deps/models/smollm2-135m-instruct.gguf

It starts llama-server, asks it every candidate below at temperature 0 without a prompt cache, and keeps three chat
and three completion candidates: those whose every token was furthest ahead of its runner-up, by more than MARGIN in any
case (in natural logarithms). Two processors round differently; with such a margin neither can flip a token, so the
stored text is a fact about the model and not about the machine that made it. Needs only Python's standard library.
"""

import argparse
import hashlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TOKENS = 48
MARGIN = 0.15
WANTED = 3

SYSTEM = "You are a helpful assistant."

# Lists, alphabets and quotations: where a small model is sure of itself.
CHAT = [
    "Count from 1 to 30, separated by commas.",
    "Write the English alphabet in capital letters, one letter per line.",
    "Write the numbers from 10 to 40, one per line.",
    "Repeat this sentence five times: The cat sat on the mat.",
    "Name the days of the week, and then the months of the year.",
    "What is the capital of France?",
    "Say hello in ten different languages.",
    "List the first twenty even numbers.",
    "Write a Python function that adds two numbers.",
    "Write the multiplication table of 2, one line each: 2 x 1 = 2.",
    "Explain what water is made of.",
    "Recite the first lines of the song Twinkle Twinkle Little Star.",
    "List the planets of the solar system in order from the sun.",
    "Count down from 20 to 1.",
    "Print the word apple twenty times separated by spaces.",
    "Write a Python program that prints Hello, World!",
    "Write the months of the year, one per line, numbered.",
    "Translate to French: Good morning.",
    "Write a for loop in C that prints the numbers 0 to 9.",
    "Count by fives from 5 to 100, separated by commas.",
    "List the first thirty even numbers.",
    "List the first twenty odd numbers.",
    "List the first thirty odd numbers, separated by commas.",
    "List the first twenty multiples of 3.",
    "List the first twenty multiples of 10.",
    "List the first fifty numbers.",
    "List the numbers from 1 to 50.",
    "List the first twenty square numbers.",
    "List the first twenty prime numbers.",
    "What are the first twenty even numbers?",
    "What are the numbers from 1 to 40?",
    "Repeat this sentence twenty times: The cat sat on the mat.",
    "Repeat this line thirty times: I will not talk in class.",
    "List the twelve months of the year and the seven days of the week, one per line, numbered.",
    "Count by tens from 10 to 300, separated by commas.",
    "Count by twos from 2 to 100, separated by commas.",
    "Count by fives from 5 to 300, separated by commas.",
    "List the planets of the solar system in order from the sun, with one sentence about each.",
]

COMPLETION = [
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,",
    "A, B, C, D, E, F, G,",
    "Monday, Tuesday, Wednesday, Thursday,",
    "January, February, March, April, May, June,",
    "To be, or not to be, that is the question:",
    "Mary had a little lamb, its fleece was white as snow; And everywhere that Mary",
    "the cat sat on the mat. the cat sat on the mat. the cat sat on the mat.",
    "2, 4, 6, 8, 10, 12, 14, 16, 18, 20,",
    "100, 99, 98, 97, 96, 95, 94, 93,",
    "one two three four five one two three four five one two three four five",
    "#include <stdio.h>\n\nint main(void) {\n  printf(\"Hello, world!\\n\");\n",
    "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n",
    "We the People of the United States, in Order to form a more perfect Union,",
    "10, 20, 30, 40, 50, 60, 70, 80, 90,",
    "apple banana cherry apple banana cherry apple banana cherry apple",
    "x = 1\nx = 2\nx = 3\nx = 4\nx = 5\n",
    "<ul>\n  <li>1</li>\n  <li>2</li>\n  <li>3</li>\n  <li>4</li>\n",
    "Line 1.\nLine 2.\nLine 3.\nLine 4.\n",
    "{\"id\": 1}\n{\"id\": 2}\n{\"id\": 3}\n{\"id\": 4}\n",
    "5, 10, 15, 20, 25, 30, 35, 40, 45,",
]


def post(base, path, body):
    request = urllib.request.Request(
        base + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def wait_until_healthy(process, base):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit("llama-server ended before it answered")
        try:
            urllib.request.urlopen(base + "/health", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit("llama-server did not become healthy within 120 s")


def margin_of(positions):
    """The smallest lead of the chosen token over the next one, over all positions."""
    smallest = float("inf")
    for position in positions:
        top = position["top_logprobs"]
        if len(top) < 2 or top[0]["id"] != position["id"]:
            return 0.0
        smallest = min(smallest, top[0]["logprob"] - top[1]["logprob"])
    return smallest


def ask_chat(base, text):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    answer = post(
        base,
        "/v1/chat/completions",
        {
            "messages": messages,
            "temperature": 0,
            "max_tokens": TOKENS,
            "cache_prompt": False,
            "logprobs": True,
            "top_logprobs": 2,
        },
    )
    choice = answer["choices"][0]
    return {
        "kind": "chat",
        "messages": messages,
        "text": choice["message"]["content"],
        "positions": choice["logprobs"]["content"],
        "finish": choice["finish_reason"],
        "prompt_tokens": answer["usage"]["prompt_tokens"],
    }


def ask_completion(base, text):
    answer = post(
        base,
        "/completion",
        {
            "prompt": text,
            "temperature": 0,
            "n_predict": TOKENS,
            "cache_prompt": False,
            "n_probs": 2,
        },
    )
    return {
        "kind": "completion",
        "prompt": text,
        "text": answer["content"],
        "positions": answer["completion_probabilities"],
        "finish": "length" if answer["stop_type"] == "limit" else "stop",
        "prompt_tokens": answer["tokens_evaluated"],
    }


def choose(base, candidates, ask):
    chosen = []
    for text in candidates:
        case = ask(base, text)
        positions = case.pop("positions")
        margin = margin_of(positions)
        # An answer that ends early would also need the end token's margin, which the server does not tell.
        good = case["finish"] == "length" and len(positions) == TOKENS and margin > MARGIN
        print(f"{'keep' if good else '    '} {margin:6.3f} {case['finish']:6} {text[:60]!r}", file=sys.stderr)
        if good:
            case["token_ids"] = [position["id"] for position in positions]
            case["margin_min"] = round(margin, 4)
            chosen.append(case)
    return sorted(chosen, key=lambda case: -case["margin_min"])[:WANTED]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="path of llama-server")
    parser.add_argument("--model", required=True, help="path of the GGUF file")
    parser.add_argument("--out", default=str(Path(__file__).with_name("greedy.json")))
    arguments = parser.parse_args()

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        arguments.server, "-m", arguments.model, "--host", "127.0.0.1", "--port", str(port),
        "-c", "2048", "-np", "1", "-t", "1", "--no-webui", "--jinja",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_healthy(process, base)
        build = json.load(urllib.request.urlopen(base + "/props", timeout=10)).get("build_info", "")
        cases = choose(base, CHAT, ask_chat) + choose(base, COMPLETION, ask_completion)
    finally:
        process.terminate()
        process.wait()

    if len(cases) < 2 * WANTED:
        sys.exit(f"only {len(cases)} candidates have a margin over {MARGIN}; add more to the lists")
    result = {
        "made_by": "tests/e2e/reference/make_greedy.py: llama-server -c 2048 -np 1 -t 1, temperature 0, "
        "cache_prompt false, max_tokens 48",
        "server_build": build,
        "model_file": Path(arguments.model).name,
        "model_sha256": hashlib.sha256(Path(arguments.model).read_bytes()).hexdigest(),
        "margin": MARGIN,
        "max_tokens": TOKENS,
        "cases": cases,
    }
    Path(arguments.out).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

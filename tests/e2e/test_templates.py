# SPDX-License-Identifier: Apache-2.0
"""Our chat templates against jinja2 in the environment that transformers makes for them: the templates of well-known models
with many conversations, byte for byte, and several hundred small expressions and statements."""

import datetime
import json
import os
import random
import struct
import subprocess
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RH_BUILD_DIR", ROOT / "build"))
TEMPLATES = sorted((ROOT / "deps/llama.cpp/models/templates").glob("*.jinja"))
NOW = 1750000000

# Templates that differ from jinja2 in some conversation, with the reason. The goal is none.
DIFFERENT = {}


class Generation(Extension):
    """The tag that marks the assistant's part of a text; the text is the same with it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form):
        return datetime.datetime.fromtimestamp(NOW).strftime(form)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = strftime_now
    return made


THEIRS = environment()


def theirs(template, variables):
    """The text, or None when jinja2 refuses, with its words when the template itself did."""
    try:
        compiled = THEIRS.from_string(template) if isinstance(template, str) else template
        return compiled.render(**variables), None
    except TemplateError as error:
        return None, str(error) if type(error) is TemplateError else None
    except Exception:  # jinja2 lets Python's own errors through
        return None, None


def ours(requests):
    """tests/tools/render_template.c with a file of requests."""
    given = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([BUILD / "render_template"], input=given.encode(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert len(answers) == len(requests)
    return answers


def difference(expected, words, answer):
    """What is wrong with our answer, or None."""
    if "error" in answer:
        if expected is not None:
            return f"ours fails: {answer['error']}"
        if words is not None and words != answer["error"]:
            return f"ours says {answer['error']!r}, theirs {words!r}"
        return None
    if expected is None:
        return f"only theirs fails ({words}); ours: {answer['text'][:200]!r}"
    if expected == answer["text"]:
        return None
    at = next((i for i, (a, b) in enumerate(zip(expected, answer["text"])) if a != b), min(len(expected), len(answer["text"])))
    return f"at {at}: theirs {expected[max(0, at - 40) : at + 60]!r}\n   ours {answer['text'][max(0, at - 40) : at + 60]!r}"


# --- conversations --------------------------------------------------------------------------------------------------


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place,\nnow.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Which city <b>&</b> 'land'"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "description": "how many", "minimum": 1},
                "details": {
                    "type": "object",
                    "properties": {"wind": {"type": "boolean"}, "rain": {"type": ["number", "null"]}},
                    "required": ["wind"],
                },
                "places": {"type": "array", "items": {"type": "string"}},
                "either": {"anyOf": [{"type": "string"}, {"type": "number"}], "nullable": True},
            },
            "required": ["city"],
        },
        "return": {"type": "object", "description": "what was seen"},
    },
}
PLAIN_TOOL = {"type": "function", "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}

TALK = [message("user", "Hello"), message("assistant", "Hi! How can I help?"), message("user", "Tell me a joke.")]
LONG_TALK = [
    message("system", "You are terse."),
    message("user", "One?"),
    message("assistant", "<think>\nHm.\n</think>\n\nTwo."),
    message("user", "Three?"),
    message("assistant", "Four.", reasoning_content="They count."),
    message("user", "Five?"),
]
TOOL_TALK = [
    message("user", "What is the weather in Paris and Rome?"),
    message(
        "assistant",
        "",
        tool_calls=[
            call("get_weather", {"city": "Paris", "days": 2, "details": {"wind": True}}, id="call_000"),
            call("get_weather", {"city": "Rome"}, id="call_001"),
        ],
    ),
    message("tool", '{"temperature": 20.5}', name="get_weather", tool_call_id="call_000"),
    message("tool", "sunny", name="get_weather", tool_call_id="call_001"),
    message("assistant", "Fine in both."),
    message("user", "Thanks!"),
]


def with_text_arguments(messages):
    """The same with arguments as OpenAI's clients send them: one text."""
    copied = json.loads(json.dumps(messages))
    for one in copied:
        for each in one.get("tool_calls", []):
            each["function"]["arguments"] = json.dumps(each["function"]["arguments"])
    return copied


def with_short_ids(messages):
    text = json.dumps(messages).replace("call_000", "abcdefGH1").replace("call_001", "abcdefGH2")
    return json.loads(text)


def as_parts(messages):
    return [message(one["role"], [{"type": "text", "text": one["content"]}]) for one in messages]


CONVERSATIONS = {
    "one user": [message("user", "Hello, who are you?")],
    "system and user": [message("system", "You are a pirate."), message("user", "Ahoy")],
    "three turns": TALK,
    "long": LONG_TALK,
    "ends with the assistant": LONG_TALK[:3],
    "empty contents": [message("system", ""), message("user", ""), message("assistant", ""), message("user", "")],
    "white space": [message("system", "  \n be brief \n\n"), message("user", "\n\n a \t"), message("assistant", " b\n"), message("user", " ")],
    "unicode": [message("system", "Ты — бот 🤖"), message("user", "日本語で: «ß» \u00a0e\u0301 𝔘 \u2028x \x07 \x7f"), message("assistant", "🙂"), message("user", "é")],
    "marks in the text": [message("user", "</s><|im_end|>{{ x }}{% if %}\"quotes\" 'single' \\n <think>a</think>")],
    "two users": [message("user", "a"), message("user", "b")],
    "assistant first": [message("assistant", "a"), message("user", "b")],
    "system last": [message("user", "a"), message("system", "b")],
    "two systems": [message("system", "a"), message("system", "b"), message("user", "c")],
    "unknown role": [message("user", "a"), message("critic", "b")],
    "developer": [message("developer", "a"), message("user", "b")],
    "no messages": [],
    "thinking": [message("user", "a"), message("assistant", "<think>why</think>because"), message("user", "b"), message("assistant", "c</think>d"), message("user", "e")],
    "reasoning": [message("user", "a"), message("assistant", "b", reasoning_content="r", reasoning="r", thinking="r"), message("user", "c")],
    "parts": as_parts(TALK),
    "parts with an image": [message("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "x"}}])],
    "no content": [message("user", None), message("assistant", None), message("user", "x")],
    "tools called": TOOL_TALK,
    "tools called, short ids": with_short_ids(TOOL_TALK),
    "tools called, arguments as text": with_text_arguments(TOOL_TALK),
    "tools called after thinking": [TOOL_TALK[0], {**TOOL_TALK[1], "reasoning_content": "think"}, *TOOL_TALK[2:]],
    "ends with a tool": with_short_ids(TOOL_TALK[:4]),
    "ends with calls": with_short_ids(TOOL_TALK[:2]),
    "content and calls": with_short_ids([TOOL_TALK[0], {**TOOL_TALK[1], "content": "Let me look."}, *TOOL_TALK[2:]]),
    "calls without a content": with_short_ids([TOOL_TALK[0], {k: v for k, v in TOOL_TALK[1].items() if k != "content"}, *TOOL_TALK[2:]]),
    "tool in parts": with_short_ids([*TOOL_TALK[:2], message("tool", [{"type": "text", "text": "ok"}], tool_call_id="call_000")]),
    "system and tools": with_short_ids([message("system", "Be exact."), *TOOL_TALK]),
}

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
DOCUMENTS = [{"title": "One", "text": "First\ntext", "contents": "First"}, {"title": "Two", "text": "Second", "contents": "x"}]
VARIABLES = {
    "plain": {"add_generation_prompt": True, "tools": None, "documents": None, **TOKENS},
    "no prompt": {"add_generation_prompt": False, "tools": None, "documents": None, **TOKENS},
    "nothing given": {},
    "tools": {"add_generation_prompt": True, "tools": [WEATHER, PLAIN_TOOL], "documents": None, **TOKENS},
    "tools and no prompt": {"add_generation_prompt": False, "tools": [WEATHER["function"]], **TOKENS},
    "documents": {"add_generation_prompt": True, "documents": DOCUMENTS, "controls": {"length": "short"}, **TOKENS},
    "thinking off": {"add_generation_prompt": True, "enable_thinking": False, "thinking": False, "reasoning_effort": "low", "reasoning": False, **TOKENS},
    "thinking on": {"add_generation_prompt": True, "enable_thinking": True, "thinking": True, "reasoning_effort": "high", "thinking_budget": 512, "reasoning": True, "keep_all_reasoning": True, **TOKENS},
    "options": {
        "add_generation_prompt": True,
        "tools": [WEATHER],
        "enable_thinking": True,
        "builtin_tools": ["wolfram_alpha", "code_interpreter"],
        "custom_tools": [PLAIN_TOOL],
        "tools_in_user_message": False,
        "date_string": "26 Jul 2024",
        "xml_tools": ["a"],
        "python_tools": ["b"],
        "functions": [PLAIN_TOOL],
        "datetime": "now",
        "model_identity": "I am a test.",
        "add_vision_id": True,
        "preserve_thinking": True,
        "response_format": {"type": "json_object"},
        **TOKENS,
    },
}


def conversations(template):
    """Numbers of a template's conversations and variables: all of both, not all pairs of rare ones."""
    luck = random.Random(template)
    for kind in CONVERSATIONS:
        for given in VARIABLES:
            if given in ("plain", "tools", "thinking on") or luck.random() < 0.5:
                yield kind, given


def compare(source):
    cases = list(conversations(source[:100]))
    requests = []
    for number, (kind, given) in enumerate(cases):
        variables = {"messages": CONVERSATIONS[kind], **VARIABLES[given]}
        requests.append({"key": 1, "variables": variables, "now": NOW, **({"template": source} if number == 0 else {})})
    try:
        compiled = THEIRS.from_string(source)
    except TemplateError:
        compiled = source
    wrong, texts = [], 0
    for (kind, given), request, answer in zip(cases, requests, ours(requests), strict=True):
        expected, words = theirs(compiled, request["variables"])
        texts += expected is not None
        found = difference(expected, words, answer)
        if found:
            wrong.append(f"[{kind} / {given}] {found}")
    return wrong, len(cases), texts


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_renders_as_jinja2_does(path):
    wrong, count, texts = compare(path.read_text(encoding="utf-8"))
    assert texts > 20 or path.stem in NEVER, f"jinja2 itself refuses {count - texts} of {count}"
    if path.stem in DIFFERENT:
        assert len(wrong) == DIFFERENT[path.stem], "\n".join(wrong[:3])
    else:
        assert not wrong, f"{len(wrong)} of {count} differ\n" + "\n".join(wrong[:3])


# Templates that use what jinja2 does not have, so that transformers cannot render them either.
NEVER = set()

# SPDX-License-Identifier: Apache-2.0
"""Our chat templates against jinja2 in the environment that transformers makes for them: the templates of well-known models
with many conversations, byte for byte, and several hundred small expressions and statements."""

import copy
import datetime
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))
from read_gguf import read_gguf  # noqa: E402

BUILD = Path(os.environ.get("RH_BUILD_DIR", ROOT / "build"))
TEMPLATES = sorted((ROOT / "deps/llama.cpp/models/templates").glob("*.jinja"))
NOW = 1750000000

# Templates that differ from jinja2 in some conversation, with the reason. The goal is none.
DIFFERENT = {}

# Templates that use what jinja2 does not have (the filter from_json), so that transformers cannot render them either.
REFUSED = {"fireworks-ai-llama-3-firefunction-v2"}


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


def test_there_are_templates():
    assert len(TEMPLATES) >= 60, "run 'make deps' to get llama.cpp's"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_renders_as_jinja2_does(path):
    wrong, count, texts = compare(path.read_text(encoding="utf-8"))
    assert (texts > 20) != (path.stem in REFUSED), f"jinja2 itself refuses {count - texts} of {count}"
    if path.stem in DIFFERENT:
        assert len(wrong) == DIFFERENT[path.stem], "\n".join(wrong[:3])
    else:
        assert not wrong, f"{len(wrong)} of {count} differ\n" + "\n".join(wrong[:3])


def test_own_template_of_the_default_model(smollm2):
    wrong, count, texts = compare(read_gguf(smollm2)[0]["tokenizer.chat_template"])
    assert not wrong and texts > count // 2, "\n".join(wrong[:3])


# --- small cases ------------------------------------------------------------------------------------------------------

DATA = {
    "zero": 0, "n": 7, "big": 9007199254740993, "neg": -3, "half": 2.5, "tiny": 1e-7, "huge": 1.5e300, "yes": True, "no": False,
    "nothing": None, "s": "Hello, World", "u": "äöÜß 日本 🙂 Σας ΟΔΟΣ", "empty": "", "spaces": "  a  b \n c\t", "lines": "one\ntwo\r\n\nfour\n",
    "quote": "it's \"so\" \\\n\x01\x7f", "list": [3, 1, 2], "words": ["b", "A", "c", "a"], "mixed": [1, "a", None, 2.0, True, [1], {"k": 2}],
    "none": [], "map": {"b": 1, "a": [1, 2], "items": "x", "é": None}, "nest": {"x": {"y": {"z": "deep"}}}, "nope": {},
    "people": [{"name": "Zoe", "age": 30, "tags": ["x"]}, {"name": "adam", "age": 25}, {"name": "Bob", "age": 30, "tags": []}],
    "pairs": [[1, "one"], [2, "two"]], "html": "<a href='x'>&</a>", "num": "42", "float": " 3.75 ", "bad": "12x",
}  # fmt: skip

VALUES = ["zero", "n", "neg", "half", "yes", "nothing", "s", "empty", "list", "none", "map", "missing", "num", "(1, 2)", "nope"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
UNARY = ["-{}", "+{}", "not {}", "{}|string", "{}|length", "{}|list", "{}|first", "{}|last", "{}|int", "{}|float", "{}|abs",
         "{}|round", "{}|tojson", "{}|upper", "{}|trim", "{}|default('d')", "{}|default('d', true)", "{}|join('-')", "{}|reverse|list",
         "{}|sort", "{}|unique|list", "{}|sum", "{}|min", "{}|max", "{}|items|list", "{}|dictsort", "{}.x", "{}['x']", "{}[0]", "{}[-1]", "{}[1:]",
         "{}[::-1]", "{}()", "[{}]", "[{}]|string", "{}|tojson(indent=2)", "{}|capitalize", "{}|title", "{}|escape", "{}|replace('l', 'L')",
         "{}|wordcount", "{}|batch(2)|list", "{}|slice(2)|list", "{}|select|list", "{}|map('string')|list", "'%s' % {}", "'{{}}'.format({})",
         "{}.items()|list", "{}.keys()", "{}.split()", "{}.strip()", "{} if {} else 'no'", "{}|indent"]  # fmt: skip
TESTS = ["defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping", "sequence",
         "iterable", "callable", "odd", "even", "divisibleby 2", "lower", "upper", "eq 7", "ne 7", "gt 2", "in [7, 's']", "sameas none"]  # fmt: skip

EXPRESSIONS = """
1 + 2 * 3 - 4 / 2 // 1 % 5 ** 2 | -2 ** 2 | 2 ** 3 ** 2 | -7 // 2 | -7 % 3 | 7 % -3 | 7.5 // 2 | -7.5 % 2 | 1 / 3 | 10 / 5 | 2 ** -1
1e16 | 1e15 | 123456789012345680.0 | 0.1 + 0.2 | 1e-4 | 1e-5 | 100.0 | 5e-324 | 1.7976931348623157e308 | 0.5|round | 1.5|round | 2.5|round | 2.675|round(2)
42.55|round(1, 'floor') | 42.51|round(1, 'ceil') | 1234|round(-2) | 25|round(-1) | 35|round(-1) | 0x1F + 0b11 + 0o17 + 1_000 | 1_0.5_0 | 9223372036854775807
not true or true and false | not (true or false) | 1 < 2 < 3 | 1 < 3 < 2 | 1 == 1.0 == true | 'a' < 'b' < 'c' | [1, 2] < [1, 3] | (1,) < (1, 2) | 3 in [1, 2] | 'ell' in s
'a' 'b' "c" | 'a' ~ 1 ~ none ~ true ~ 2.0 ~ [1] | 'a' * 3 | 3 * [1, 2] | [1] + [2] | (1,) + (2,) | 'a' + 1 | 1 + 'a' | none + 1 | true + true | 'x' % 1
s[0] | s[-1] | s[100] | s[1:4] | s[-5:] | s[:-1] | s[::2] | s[::-2] | s[10:2:-3] | s[5:100] | u[0] | u[-3:] | u[3:8] | u|length | u[::-1] | list[5] | list[-1] | list[1:][0] | list[:0]
u|upper | u|lower | u|title | u|capitalize | u.upper() | u.title() | u.swapcase() | u.casefold is defined | 'ΑΣ ΑΣΑ'|lower | 'İ'|lower | 'straße'|upper | u|wordcount
map.a | map['b'] | map.items | map['items'] | map.items() | map.missing | map.é | map.get('b') | map.get('q') | map.get('q', 5) | map|length | map|list | 'a' in map | map == {'b': 1} | nest.x.y.z | nest.x.q.z
missing | missing.x | missing['x'] | missing + 1 | missing ~ 'a' | missing|length | missing == none | missing == missing2 | not missing | missing is defined | missing() | missing|list | 'a' in missing | missing in list | missing[1:]
none.x | none | none|string | [none, true] | {'a': none} | () | (1,) | (1, 2) | {} | {'a': {'b': [1, (2,)]}} | {1: 2, 1.5: 3, true: 4} | {none: 1}|tojson | [quote] | [u] | quote|tojson | [1.0, 2e20]
range(5) | range(2, 10, 3)|list | range(5, 0, -2)|list | range(0)|list | range(3)[1] | range(3)|length | range(200000) | range(1, 2, 0) | range('a') | [1, 2, 3][range(2)[1]]
list|sort | words|sort | words|sort(case_sensitive=true) | words|sort(reverse=true) | people|sort(attribute='age')|map(attribute='name')|list | people|sort(attribute='age,name')|map(attribute='name')|list | mixed|sort
people|map(attribute='name')|join(', ') | people|map(attribute='tags', default=[])|list | people|selectattr('tags')|map(attribute='name')|list | people|selectattr('tags', 'defined')|list|length | people|rejectattr('age', 'gt', 26)|list
list|select('odd')|list | list|reject('odd')|list | list|select('gt', 1)|list | words|map('upper')|list | list|map('string')|join | pairs|map('first')|list | pairs|map(attribute=1)|list | people|map(attribute='tags.0')|list
words|unique|list | words|min | words|max | list|sum | people|sum(attribute='age') | list|sum(start=10) | pairs|sum(start=[]) | people|max(attribute='age') | list|batch(2, 0)|list | list|slice(2, 'x')|list | 'abc'|batch(2)|list
map|dictsort | {'B': 1, 'a': 2}|dictsort | {'B': 1, 'a': 2}|dictsort(true) | {'B': 1, 'a': 0}|dictsort(by='value') | {'B': 1, 'a': 2}|dictsort(reverse=true) | map|items|list | list|first | none|first | list|last | 'abc'|last | list|random is defined
s|replace('l', 'L') | s|replace('l', 'L', 1) | s|replace('', '-') | spaces|trim | s|trim('Hd') | spaces.strip() | spaces.split() | spaces.split(' ') | s.split(', ') | s.split('l', 1) | s.rsplit('l', 1) | spaces.rsplit(none, 1) | ''.split() | ''.split(',')
lines.splitlines() | lines.splitlines(true) | s.partition(', ') | s.rpartition('l') | s.partition('x') | s.find('l') | s.rfind('l') | s.find('x') | s.index('x') | s.count('l') | s.count('') | u.find('日') | s.find('l', 4) | s.find('l', -2, -1) | s.startswith('He') | s.startswith(('x', 'H')) | s.endswith('ld', 3) | s.endswith('He')
s.ljust(15, '.') ~ '|' | s.rjust(15) | s.center(15, '*') | s.center(16, '*') | s|center(15) | '42'.zfill(5) | '-42'.zfill(5) | s.removeprefix('Hello') | s.removesuffix('d') | s.upper() | s.lower() | s.title() | s.capitalize() | s.isalpha() | num.isdigit() | 'aB'.islower() | '²'.isdigit() | 'x1'.isalnum() | ' '.isspace() | 'a b'.isidentifier()
'-'.join(words) | '-'.join([1]) | '-'.join('abc') | ''.join(missing) | list|join | list|join('-') | people|join(', ', attribute='name') | mixed|join('|') | [missing, none]|join('/')
num|int | bad|int | bad|int(7) | float|int | float|float | bad|float | bad|float(1.5) | '0x1f'|int(base=16) | '101'|int(0, 2) | none|int | true|int | 3.99|int | '-7'|int | '1_000'|int | ' 12 '|int | huge|int | tiny|float | neg|abs | -2.5|abs | s|abs
'%s and %d' % ('a', 3) | '%5.2f|%-5s|%05d|%+d|%x|%o|%e|%g|%%' % (2.345, 'ab', 42, 7, 255, 8, 12345.678, 0.0001) | '%(a)s' % {'a': 1} | '%s' % list | '%s %s' % (1,) | '%d' % 'x' | '%d' % 2.9 | '%r' % 'a' | '%c' % 65 | '%.2s' % s | '%s'|format(3) | '%s-%s'|format(1, 2) | '%*d' % (5, 3)
'{} {}'.format(1, 'a') | '{1} {0}'.format(1, 2) | '{a}'.format(a=none) | '{:>8}|{:<8}|{:^8}|{:*^9}'.format('a', 'b', 'c', 'd') | '{:05d} {:+d} {:,} {:_}'.format(42, 7, 1234567, 1234567) | '{:.2f} {:8.3f} {:e} {:g} {:%}'.format(2.345, 3.14159, 1234.5, 0.1, 0.25)
'{:x} {:X} {:b} {:o} {:#x} {:c}'.format(255, 255, 5, 8, 255, 65) | '{{}}'.format() | '{0.x.y} {0[x]}'.format(nest) | '{!r} {!s}'.format('a', 'b') | '{:{}}'.format('a', 5) | '{:.3}'.format('abcdef') | '{'.format() | '}'.format() | '{5}'.format(1) | '{a}'.format(1) | '{:d}'.format('a') | '{}'.format(1.0) | '{:.3}'.format(1234.5) | '{:10}'.format(true) | '{:<5}|'.format(7)
s|tojson | u|tojson | u|tojson(ensure_ascii=true) | html|tojson | map|tojson | map|tojson(indent=4) | mixed|tojson(indent=0) | [[], {}]|tojson(indent=2) | map|tojson(separators=(',', ':')) | {'b': 1, 'a': 2}|tojson(sort_keys=true) | {'b': {'d': 1, 'c': 2}}|tojson(sort_keys=true, indent=1) | missing|tojson | (1, 2)|tojson | range(2)|tojson | [1.0, 1e100, -0.0]|tojson | {1: 2, 1.5: 3, none: 4, true: 5}|tojson | {(1, 2): 3}|tojson | lines|tojson(true)
html|escape | html|e ~ '<' | html|safe | (html|safe) + '<b>' | (html|safe).strip() + '<' | (html|safe).upper()|tojson | (html|safe) ~ '<' | (html|safe)[:3] + '<' | (html|safe) * 2 | '<b>' + (html|escape) | (html|escape)|escape | (html|escape)|forceescape | html|e|upper | html|e is escaped | html is escaped | html|e|length | [html|e] | (html|safe)|replace('<', '[') | (html|e)|string|upper | html|e|trim('&')
lines|indent | lines|indent(2, true) | lines|indent('> ', blank=true) | lines|indent(first=true, width=1) | 'a'|indent | 'x'|indent(first=true) | ''|indent | s|truncate(8) | s|truncate(5, true) | s|truncate(8, false, '..', 0) | s|truncate(9, leeway=0) | s|wordcount
n if yes else 'x' | n if no | (n if no) is defined | 'a' if no else 'b' if yes else 'c' | [x for x in list] | list.append(1) | map.update({}) | list.sort() | list.index(1) | list.count(1) | map.copy() | map.pop('a') | map.keys()|list | map.values()|list | map.items()|list | s.__class__ | s.encode is defined | list.__len__() | ''.__class__.__mro__
namespace(a=1).a | namespace(a=1).b | namespace({'x': 2}).x | namespace() | dict(a=1, b=2) | dict([['a', 1]]) | dict({'a': 1}, b=2) | cycler('a', 'b').next() | joiner(',')() | list is sequence | (list|select) is sequence | (list|map('string')) is iterable | list|map('string')|length | list|select|first | (list|select)|tojson | (list|reverse)[0]
5 is odd | 4 is even | 9 is divisibleby 3 | 9 is divisibleby(3) | 'a' is in 'abc' | 1 is not none | none is none | 'upper' is filter | 'nofilter' is filter | 'odd' is test | 3 is sameas 3 | list is sameas list | 'ab' is lower and 'AB' is upper | 1 is number and true is number | 3 is gt 2 and 2 is le 2 | 3 is == 3 | x is not defined | n is eq(7) | not n is eq 7 | n is odd is even
'\\n\\t\\x41\\u00e9\\U0001F600\\101\\q' | "a'b" | 'a"b' | 'a\\'b' | ['a\\'b', "c\"d", 'e\\'"f'] | '\\\\' | {'a': 1}.a | [1, 2].0 | list.0 | map.b.real is defined | {'x': [1, {'y': 2}]}['x'][1].y | ((1)) | (1, (2, 3))[1][0] | [1, 2,] | {'a': 1,} | [,] | {1} | 1 if | 1 + | (1 | 1) | a b | 'open | 1..2 | @ | {{ 1
list|nofilter | (list|nofilter) if no else 1 | 1 is notest | list|map('nofilter')|list | list|select('notest')|list | list|join(1, 2, 3) | s|upper(1) | s.upper(1) | raise_exception('stop') | raise_exception(5) | s|default | missing|d(5) | none|d(5) | none|d(5, true) | ''|d('x', boolean=true) | list|length(1) | list|attr('count')(1) | map|attr('b') | missing|attr('b')
1 / 0 | 1 // 0 | 1 % 0 | 1.0 / 0 | 0 ** -1 | 'a' - 'b' | [] - [] | {} + {} | -'a' | +[] | 'a' < 1 | none < none | [] < {} | 1 in 1 | 1 in 'a' | list[none] | list['a'] | s['x'] | map[list] | {list: 1} | 5[0] | 5 .x | list['0'] | list[true] | s[1:'a'] | s[::0] | nothing[1:] | map[1:]
strftime_now('%Y-%m-%d %H:%M') | strftime_now('%d %B %Y, %A') | strftime_now('') | loop | self is defined | true|string ~ True ~ False ~ None | big | big + 1 | big * 1.0 | big == 9007199254740992.0 | yes + 1 | yes|int | yes == 1 | 1|string|length | 7 // 2.0 | 7 % 2.5 | 1e400 | 2 ** 62 | 2 ** 0.5 | 4 ** 0.5
"""  # noqa: E501

STATEMENTS = r"""
{% for x in list %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}
{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{% endfor %}
{% for x in list if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ loop.nextitem }}{{ loop.previtem }} {% else %}none{% endfor %}
{% for x in none %}x{% else %}empty{% endfor %}{% for x in missing %}x{% else %}nothing{% endfor %}{% for x in nothing %}{% endfor %}
{% for a, b in pairs %}{{ a }}={{ b }};{% endfor %}{% for k, v in map.items() %}{{ k }}:{{ v }};{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a + b + c }}{% endfor %}
{% for a, b in [[1]] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for c in s %}{{ c }}-{% endfor %}{% for k in map %}{{ k }}{% endfor %}{% for x in range(3) %}{{ x }}{% endfor %}
{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}
{% for x in list %}{% for y in list %}{% if y == x %}{% break %}{% endif %}{{ x }}{{ y }}{{ loop.index }}{{ loop.depth }} {% endfor %}{{ loop.index }}{% endfor %}
{% for x in list %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}{% for x in none recursive %}{% endfor %}
{% for x in [[1, [2, [3]]], 4] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}
{% set x = 1 %}{% for i in list %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=1, found=false) %}{% for i in list %}{% set ns.x = ns.x + i %}{% if i == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.x }}{{ ns.found }}{{ ns }}
{% set ns = namespace() %}{% for m in people %}{% if loop.first or m.name != ns.last %}{{ m.name }}{% endif %}{% set ns.last = m.name %}{% endfor %}{{ ns.missing }}
{% set ns = namespace(n=0) %}{% for i in range(6) if i != ns.n %}{{ i }}{% set ns.n = i + 1 %}{% endfor %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set a, b = b, a %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}{% set t = 1, 2 %}{{ t }}
{% set map.x = 1 %}
{% set a, b = 1 %}
{% set x %}block {{ n }}{% endset %}[{{ x }}]{% set y | upper %}block{% endset %}{{ y }}{% set z | replace('a', 'b') | upper %}aa{% endset %}{{ z }}
{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}{% if no %}a{% elif nothing %}b{% elif yes %}c{% endif %}{% if missing %}x{% endif %}{% if (n, 0) %}t{% endif %}
{% if yes %}{% set q = 5 %}{% endif %}{{ q }}{% if no %}{% set r = 5 %}{% endif %}{{ r }}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(c=9, a=8) }}{{ m() }}|{{ m }}|{{ m.name }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro f(n) %}{% if n > 1 %}{{ n * f(n - 1)|int }}{% else %}1{% endif %}{% endmacro %}{{ f(10) }}
{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}
{% macro wrap(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call wrap('b') %}in{{ n }}{% endcall %}
{% macro each(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) each(list) %}{{ i }}:{{ x }} {% endcall %}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}
{% set x = 1 %}{% macro m() %}{{ x }}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}{% set x = 2 %}{{ m() }}
{% macro outer() %}{% macro inner(y) %}{{ y }}{{ z }}{% endmacro %}{% set z = 3 %}{{ inner(1) }}{% endmacro %}{{ outer() }}
{% filter upper %}abc {{ s }}{% endfilter %}{% filter replace('a', 'b')|indent(2) %}aa{{ '
' }}a{% endfilter %}{% filter trim %}  x {% endfilter %}
{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 2 %}{{ a }}{% endwith %}{{ a }}{% with %}{% set q = 1 %}{% endwith %}{{ q }}
{% generation %}said {{ n }}{% set g = 1 %}{% endgeneration %}{{ g }}
{% raw %}{{ not }} {% this %}{% endraw %}|  {%- raw -%}  x  {%- endraw -%}  |
{# comment #}a{#- b -#} c {# {{ x }} {% if %} #}d
  {# lstripped #}
x
{%- if yes -%}  a  {%- endif -%}  b
{% if yes %}
  line
{% endif %}
next
   {% if yes %}   indented{% endif %}   {{ n }}  {% if yes +%}
 kept{% endif %}
  {%+ if yes %}not stripped{% endif %}
a {{- n -}} b {{ n -}}   c   {{- n }}
{{ n }}
{{ n }}

{% for x in list -%}
   {{ x }}
{%- endfor %}
{% for x in list %}
  {{ x }}
{% endfor %}
end
{{ "{{" }}{{ '{%' }}{{ '#}' }}{{ {'a': {'b': 1}}['a'] }}{{ {'a':{'b':1}}}}
{% print n, s %}{{ n, s }}{{ (n) }}
{% set x = namespace(l=[]) %}{% set x.l = x.l + [1] %}{{ x.l }}{% set x.l = x.l + [x.l] %}{{ x.l }}
{% set xs = list|select('odd') %}{{ xs|list }}{{ xs|list }}{% if xs %}t{% endif %}{% set ys = none|select %}{% if ys %}t{% endif %}
{% set x = 'a' if no %}{{ x is defined }}{{ x }}{% for x in (list if no) %}{% endfor %}
{% set f = s.upper %}{{ f() }}{% set g = map.get %}{{ g('b') }}{{ range }}{{ [1, 2].count(1) }}
{% if no %}{{ s|nofilter }}{% endif %}ok
{% if yes %}{{ s|nofilter }}{% endif %}
{% for x in list %}{{ x|nofilter }}{% endfor %}
{% if no %}{% for x in list %}{{ x|nofilter }}{% endfor %}{% endif %}
{{ raise_exception('No ' ~ n) }}
{% set loop = 1 %}{{ loop }}
{% break %}
{% endif %}
{% if yes %}
{% for x in list %}{% endif %}
{% unknown %}
{% set 5 = 1 %}
{% set true = 1 %}
{% for x list %}{% endfor %}
{% macro m(a=1, b) %}{% endmacro %}
{{ n
{% if n
{# open
{% raw %}open
{{ n }} }} %} #} { { } }
{% set x = [] %}{% for i in range(3) %}{% set x = x + [i] %}{% endfor %}{{ x }}
{% set a = {'k': [1, 2]} %}{{ a.k[0] }}{{ a['k'][-1] }}{% for k, v in a|dictsort %}{{ k }}{{ v }}{% endfor %}{% for k, v in a|items %}{{ k }}{% endfor %}
{% set args = [1, 2] %}{% set kw = {'c': 3} %}{% macro m(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*args, **kw) }}{{ m(1, *[2], c=4) }}
{{ '%s' % missing }}{{ missing.x is defined }}
{{ map.x is defined }}{{ map.x.y is defined }}
{% for m in people %}{% set text = m.name %}{% if m.tags is defined and m.tags %}{{ text }}{{ m.tags | tojson }}{% endif %}{% endfor %}{{ text }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}{% set j = joiner() %}{{ j() }}{{ j() }}
{% for x in list|sort(reverse=true) %}{{ x }}{% endfor %}{% for x in list[::-1] %}{{ x }}{% endfor %}{% for x in list|reverse %}{{ x }}{{ loop.last }}{% endfor %}
{% macro a(x) %}{{ x }}{% endmacro %}{% set b = a %}{{ b(1)|upper }}{{ a(2) ~ 'x' }}{{ a('<') + '>' }}{{ a is callable }}{{ a(1)|length }}
{% set x = 5 %}{% if x is number and x is not string %}{{ x }}{% endif %}{{ x is defined and x > 3 }}{{ not x is none }}
a{% if yes %}{% endif %}
b{{ '' }}
c{##}
d
"""


def small_cases():
    cases = ["{{ " + one.strip() + " }}" for line in EXPRESSIONS.strip().split("\n") for one in line.split(" | ")]
    cases += ["{{ " + f"{a} {op} {b}" + " }}" for a in VALUES for op in OPERATORS for b in VALUES]
    cases += ["{{ " + form.replace("{}", value).replace("{{" + value + "}}", "{}") + " }}" for form in UNARY for value in [*VALUES, "u", "mixed", "words", "lines", "people", "half"]]
    cases += ["{{ " + f"{value} is {test}" + " }}" for value in VALUES for test in TESTS]
    lines = STATEMENTS.strip("\n").split("\n")
    cases += lines
    # The same with line breaks between them: trimming depends on what stands around a tag.
    cases += ["\n".join(lines[i : i + 3]) for i in range(len(lines) - 2)] + [line.replace("%}", "%}\n ").replace("{%", " {%") for line in lines]
    cases += ["\r\n".join(lines[i : i + 2]) + "\n\n" for i in range(0, len(lines) - 1, 3)]
    return cases


# Small cases that differ from jinja2, with the reason.
SMALL_DIFFERENT = {
    "{{ huge|int }}": "whole numbers have 64 bits",
    "{{ neg ** half }}": "no complex numbers",
    "{{ none[1:] }}": "jinja2 computes constants early, where it forgives what it does not forgive later",
    "{{ none[::-1] }}": "likewise",
    "{{ self is defined }}": "no blocks, so nothing for self to hold",
    "{{ list|random is defined }}": "a filter that gives another text every time",
    "{{ u.casefold is defined }}": "a method that is not known here",
    "{{ s.encode is defined }}": "likewise",
    "{{ map.b.real is defined }}": "likewise",
}


def test_small_cases():
    cases = small_cases()
    assert len(cases) > 1500
    answers = ours([{"template": case, "variables": DATA, "now": NOW} for case in cases])
    wrong, texts = {}, 0
    for case, answer in zip(cases, answers, strict=True):
        expected, words = theirs(case, copy.deepcopy(DATA))  # |indent changes a list that it is given
        if expected is not None and " at 0x" in expected:
            continue  # an address
        texts += expected is not None
        found = difference(expected, words, answer)
        if found:
            wrong[case] = found
    assert texts > 1000
    new = [f"{case!r}: {found}" for case, found in wrong.items() if case not in SMALL_DIFFERENT]
    assert not new, f"{len(new)} of {len(cases)} differ\n" + "\n".join(new[:40])
    assert set(wrong) == set(SMALL_DIFFERENT), "some cases no longer differ"

# SPDX-License-Identifier: Apache-2.0
"""Wire cases as data: files that hold request bytes and the exact answer.

    # a note
    daemon: default
    >>>
    POST /v1/chat/completions
    content-type: application/json

    {"messages":[...]}
    <<<
    200
    content-type: application/json
    x-request-id: {{id}}

    {"id":"chatcmpl-{{id}}", ...}

One file is one connection; it may hold several pairs, sent one after the other. The answer's listed headers must be
there with these values (others may be too); its body must match byte for byte, chunk framing removed. A section's body
ends before the line break that precedes the next marker or the end of the file.

Placeholders: {{id}} 32 hexadecimal digits, {{created}} a recent Unix time, {{num}} a number that is not negative,
{{maybe}} the same or null, {{word}} anything without a quote. {{id}} and {{created}} mean the same value wherever they
stand in one answer.
RH_RECORD=1 writes what came back into the file: read the difference before you commit it.
"""

import json
import re
import time

PLACEHOLDERS = {
    "id": r"[0-9a-f]{32}",
    "created": r"[0-9]{10}",
    "num": r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?",
    "maybe": r"(?:null|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)",
    "word": r'[^"\r\n]*',
}
BOUND = ("id", "created")


class Exchange:
    def __init__(self, method, path, headers, body):
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.status = None
        self.expected_headers = {}
        self.expected_body = ""


class Case:
    def __init__(self, path):
        self.path = path
        self.notes = []
        self.settings = {}
        self.exchanges = []
        self._parse(path.read_text(encoding="utf-8"))

    def _parse(self, text):
        preamble, *pairs = re.split(r"^>>>\n", text, flags=re.MULTILINE)
        for line in preamble.splitlines():
            if line.startswith("#"):
                self.notes.append(line)
            elif line:
                key, value = line.split(":", 1)
                self.settings[key.strip()] = value.strip()
        for pair in pairs:
            request, *answer = re.split(r"^<<<\n", pair, flags=re.MULTILINE)
            first, headers, body = split_section(request)
            method, path = first.split(" ", 1)
            exchange = Exchange(method, path, headers, body)
            if answer and answer[0].strip():
                first, exchange.expected_headers, exchange.expected_body = split_section(answer[0])
                exchange.status = int(first)
            self.exchanges.append(exchange)

    def write(self):
        parts = ["\n".join(self.notes + [f"{key}: {value}" for key, value in self.settings.items()]) + "\n"]
        for exchange in self.exchanges:
            parts.append(">>>\n" + join_section(f"{exchange.method} {exchange.path}", exchange.headers, exchange.body))
            parts.append("<<<\n" + join_section(exchange.status, exchange.expected_headers, exchange.expected_body))
        self.path.write_text("".join(parts), encoding="utf-8")


def split_section(text):
    head, _, body = text.partition("\n\n")
    if not _:
        head = text.rstrip("\n")
    first, *lines = head.split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return first, headers, body.removesuffix("\n")


def join_section(first, headers, body):
    text = f"{first}\n" + "".join(f"{name}: {value}\n" for name, value in headers.items())
    return text + (f"\n{body}\n" if body else "")


def to_pattern(template, bound):
    """A regular expression for a template. `bound` remembers which names have a group already."""
    out, at = [], 0
    for match in re.finditer(r"\{\{([a-z]+)\}\}", template):
        out.append(re.escape(template[at : match.start()]))
        name = match.group(1)
        if name in BOUND and name in bound:
            out.append(f"(?P={name})")
        elif name in BOUND:
            bound.add(name)
            out.append(f"(?P<{name}>{PLACEHOLDERS[name]})")
        else:
            out.append(PLACEHOLDERS[name])
        at = match.end()
    out.append(re.escape(template[at:]))
    return "".join(out)


def check(exchange, response):
    """Assert that a response is the expected one."""
    assert response.status == exchange.status, f"status {response.status}, body {response.body[:500]!r}"
    # Headers and body are matched as one text, so that {{id}} in both must be the same.
    got, template = [], []
    for name, value in exchange.expected_headers.items():
        got.append(f"{name}: {response.header(name)}\n")
        template.append(f"{name}: {value}\n")
    got = "".join(got) + "\n" + response.body.decode("utf-8")
    template = "".join(template) + "\n" + exchange.expected_body
    match = re.fullmatch(to_pattern(template, set()), got, flags=re.DOTALL)
    # The plain comparison first: its report shows where the two part.
    if not match:
        assert with_placeholders(got, response) == template
        raise AssertionError(f"a placeholder does not match:\n{got}")
    created = match.groupdict().get("created")
    assert created is None or abs(int(created) - time.time()) < 300, f"created is not now: {created}"


def with_placeholders(text, response):
    """What came back, written as a template."""
    request_id = response.header("x-request-id") or ""
    digits = re.search(r"[0-9a-f]{32}", request_id)
    if digits:
        text = text.replace(digits.group(0), "{{id}}")
    text = re.sub(r'"created":\d{10}', '"created":{{created}}', text)
    number = PLACEHOLDERS["num"]
    text = re.sub(rf'("[a-z_]*_(?:ms|duration)"):{number}', r"\1:{{num}}", text)
    text = re.sub(rf'("tokens_per_second"):(?:null|{number})', r"\1:{{maybe}}", text)
    text = re.sub(rf'("batch_size"|"padding"):{number}', r"\1:{{num}}", text)
    text = re.sub(rf'("(?:relevance_)?score"):{number}', r"\1:{{num}}", text)
    text = re.sub(r'"system_fingerprint":"rh-[^"]*"', '"system_fingerprint":"rh-{{word}}"', text)
    return re.sub(r'"host":"[^"]*"', '"host":"{{word}}"', text)


def record(exchange, response):
    exchange.status = response.status
    kept = ("content-type", "x-request-id", "retry-after", "x-should-retry", "allow", "x-roundhouse-warnings")
    exchange.expected_headers = {
        name: with_placeholders(value, response) for name, value in response.headers if name in kept
    }
    exchange.expected_body = with_placeholders(response.body.decode("utf-8"), response)


def load_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)

# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus' text format 0.0.4: what it does not understand is an error, not skipped."""

import re

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"bad labels: {text!r}"
        value = re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), match.group(2))
        assert match.group(1) not in labels, f"label given twice: {text!r}"
        labels[match.group(1)] = value
        at = match.end()
    return labels


class Metrics:
    def __init__(self, text):
        self.text = text
        self.types = {}
        self.helps = {}
        self.samples = []  # (name, labels, value)
        assert text == "" or text.endswith("\n"), "the text must end with a newline"
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"two TYPE lines for {name}"
                assert kind in ("counter", "gauge", "histogram"), line
                self.types[name] = kind
            elif line.startswith("# HELP "):
                name, help_text = line[7:].split(" ", 1)
                self.helps[name] = help_text
            elif line and not line.startswith("#"):
                match = SAMPLE.match(line)
                assert match, f"bad sample: {line!r}"
                labels = parse_labels((match.group(2) or "{}")[1:-1])
                self.samples.append((match.group(1), labels, float(match.group(3))))
        seen = set()
        for name, labels, _ in self.samples:
            key = (name, tuple(sorted(labels.items())))
            assert key not in seen, f"sample given twice: {key}"
            seen.add(key)

    def family(self, sample_name):
        """The TYPE a sample belongs to."""
        if sample_name in self.types:
            return sample_name
        return re.sub(r"_(bucket|sum|count)$", "", sample_name)

    def matching(self, name, **labels):
        return [
            (found, value)
            for sample, found, value in self.samples
            if sample == name and all(found.get(key) == want for key, want in labels.items())
        ]

    def sum(self, name, **labels):
        """The sum over all series of `name` with these labels; 0 when there is none."""
        return sum(value for _, value in self.matching(name, **labels))

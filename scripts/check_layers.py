#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that every #include between folders of src is one that the file LAYERS allows.

It also checks LAYERS itself: each folder below src has a line, each line a folder, and what a line allows has a lower
rank. --self-test runs the checks on made-up trees.
"""

import re
import sys
import tempfile
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]*)"')


def read_layers(path):
    """{folder: (rank, allowed folders)} and the complaints about the file's lines."""
    layers, problems = {}, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) < 2 or words[0] in layers:
            problems.append(f"{path.name}:{number}: want 'folder rank allowed...', each folder once")
            continue
        layers[words[0]] = (words[1], set(words[2:]))
    return layers, problems


def check_ranks(layers):
    """Includes point down only; a folder without a rank ("-") stands outside and may look at any."""
    problems = []
    for folder, (rank, allowed) in layers.items():
        for other in sorted(allowed):
            if other not in layers:
                problems.append(f"LAYERS: {folder} may include {other}, which has no line")
            elif rank != "-" and layers[other][0] == "-":
                problems.append(f"LAYERS: {folder} may include {other}, which has no rank")
            elif rank != "-" and int(layers[other][0].rstrip("'")) >= int(rank.rstrip("'")):
                problems.append(f"LAYERS: {folder} (rank {rank}) may include {other} (rank {layers[other][0]}): upwards")
    return problems


def check_file(root, file, layers):
    folder = file.relative_to(root / "src").parts[0]
    allowed = layers[folder][1] | {folder}
    problems = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        place = f"{file.relative_to(root)}:{number}"
        included = match.group(1)
        target = included.split("/", 1)[0]
        if not (root / "src" / included).is_file() or ".." in included.split("/"):
            problems.append(f'{place}: "{included}" is no file below src; write "folder/name.h"')
        elif target not in allowed:
            problems.append(f'{place}: {folder} may not include "{included}" (see LAYERS)')
    return problems


def check(root):
    """All complaints about a tree, as lines of text."""
    layers, problems = read_layers(root / "LAYERS")
    problems += check_ranks(layers)
    files = sorted(file for suffix in ("*.c", "*.h") for file in (root / "src").rglob(suffix))
    seen = set()
    for file in files:
        parts = file.relative_to(root / "src").parts
        if len(parts) == 1:
            problems.append(f"src/{parts[0]}: a source file belongs into a folder")
        elif parts[0] in layers:
            seen.add(parts[0])
            problems += check_file(root, file, layers)
        elif parts[0] not in seen:
            seen.add(parts[0])
            problems.append(f"src/{parts[0]}: has no line in LAYERS")
    problems += [f"LAYERS: {folder}: src/{folder} has no source file" for folder in layers if folder not in seen]
    return problems


GOOD = {"LAYERS": "# note\na 0\nb 1 a\nc - a b\n", "src/a/a.h": "", "src/b/b.c": '#include "a/a.h"\n', "src/c/c.c": ""}

# What is changed in the good tree, and a piece of the complaint that must follow.
SELF_TESTS = [
    ({}, None),
    ({"src/a/a.c": '#include "a/a.h"\n#include <b/b.h>\n'}, None),
    ({"src/b/deep/d.c": '  #  include "a/a.h"\n'}, None),
    ({"src/a/a.c": '#include "b/b.h"\n', "src/b/b.h": ""}, 'src/a/a.c:1: a may not include "b/b.h"'),
    ({"src/b/deep/d.c": '\n#include "c/c.h"\n', "src/c/c.h": ""}, 'src/b/deep/d.c:2: b may not include "c/c.h"'),
    ({"src/b/b.c": '#include "b.h"\n', "src/b/b.h": ""}, '"b.h" is no file below src'),
    ({"src/b/b.c": '#include "a/../b/b.h"\n', "src/b/b.h": ""}, "is no file below src"),
    ({"src/new/n.c": ""}, "src/new: has no line in LAYERS"),
    ({"src/main.c": ""}, "src/main.c: a source file belongs into a folder"),
    ({"LAYERS": "a 0\nb 1 a\nc - a b\nd 2\n"}, "LAYERS: d: src/d has no source file"),
    ({"LAYERS": "a 0 b\nb 1 a\nc - a b\n"}, "LAYERS: a (rank 0) may include b (rank 1): upwards"),
    ({"LAYERS": "a 0\nb 1 a c\nc - a b\n"}, "LAYERS: b may include c, which has no rank"),
    ({"LAYERS": "a 0\nb 1 a x\nc - a b\n"}, "LAYERS: b may include x, which has no line"),
    ({"LAYERS": "a 0\na 0\nb 1 a\nc - a b\n"}, "LAYERS:2: want"),
]


def self_test():
    """The complaints of the checks about themselves."""
    problems = []
    for changes, expected in SELF_TESTS:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**GOOD, **changes}.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            found = check(Path(folder))
        if expected is None and found:
            problems.append(f"self-test {changes}: unexpected {found}")
        if expected is not None and not any(expected in line for line in found):
            problems.append(f"self-test {changes}: expected '{expected}', got {found}")
    return problems


def main():
    problems = self_test() if sys.argv[1:] == ["--self-test"] else check(Path(__file__).resolve().parent.parent)
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The metadata and the list of tensors of a GGUF file (version 3), as Python values. Format: docs/gguf.md of ggml."""

import struct

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, letter):
        (value,) = struct.unpack_from("<" + letter, self.data, self.at)
        self.at += struct.calcsize("<" + letter)
        return value

    def text(self):
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        inner, count = self.number("I"), self.number("Q")
        if inner in NUMBERS:
            letters = f"<{count}{NUMBERS[inner]}"
            values = list(struct.unpack_from(letters, self.data, self.at))
            self.at += struct.calcsize(letters)
            return values
        return [self.value(inner) for _ in range(count)]


# Numbers and bytes of a block, by the type's number: f32, f16, q8_0, bf16.
BLOCKS = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}


def read_header(path):
    with open(path, "rb") as file:
        reader = Reader(file.read())
    magic, version = reader.number("I"), reader.number("I")
    assert magic == 0x46554747 and version == 3, f"{path} is no GGUF file of version 3"
    tensors, pairs = reader.number("Q"), reader.number("Q")
    metadata = {}
    for _ in range(pairs):
        key = reader.text()
        metadata[key] = reader.value(reader.number("I"))
    found = {}
    for _ in range(tensors):
        name = reader.text()
        shape = [reader.number("Q") for _ in range(reader.number("I"))]
        found[name] = (shape, reader.number("I"), reader.number("Q"))
    return metadata, found, reader


def read_gguf(path):
    """({key: value}, {tensor name: (shape, type number)})."""
    metadata, found, _ = read_header(path)
    return metadata, {name: (shape, kind) for name, (shape, kind, _) in found.items()}


def read_bytes(path):
    """{tensor name: (type number, bytes)} of a file that has only the types above."""
    _, found, reader = read_header(path)
    start = (reader.at + 31) // 32 * 32
    out = {}
    for name, (shape, kind, offset) in found.items():
        numbers, size = BLOCKS[kind]
        for length in shape:
            size *= length
        out[name] = (kind, reader.data[start + offset : start + offset + size // numbers])
    return out

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a tiny GGUF model for tests: a llama of two layers with fixed random weights and a byte-level vocabulary.

The same options give the same bytes on every machine. It needs only Python's standard library. The model answers
nonsense, but printable nonsense: the rows of the output matrix that stand for unprintable bytes are kept small.
The options --truncate and --lie make files that a loader has to refuse.
"""

import argparse
import array
import math
import struct
import sys

# GGUF value types, from the format's specification.
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_F32 = 0
ALIGNMENT = 32

# Token types of tokenizer.ggml.token_type.
NORMAL, CONTROL = 1, 3

LAYERS, WIDTH, HEADS, KV_HEADS, FFN = 2, 64, 4, 2, 128

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# Pairs in order of priority; "_" stands for the space's symbol.
MERGES = """_ t|h e|_ a|i n|r e|o n|_t he|e r|_ s|a t|e n|o r|_ w|o u|l l|i s|_ h|n d|_a nd|_ i|_ o|_ b|e s|in g|_ f
_h e|_i s|_ y|_y ou|u s|s t|a n|s e|us er""".replace("\n", "|").split("|")

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
    " + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class Lcg:
    """Knuth's 64-bit linear congruential generator; the upper half is used."""

    def __init__(self, seed):
        self.state = seed

    def uniform(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 32) / 2**31 - 1.0


def byte_symbols():
    """GPT-2's printable stand-in for each byte: itself where it prints, otherwise 256 and up in order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    symbols = {byte: chr(byte) for byte in plain}
    symbols.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [symbols[byte] for byte in range(256)]


def vocabulary():
    """The tokens in id order (bytes, merges, specials), their types, and the merge rules."""
    symbols = byte_symbols()
    space = symbols[0x20]
    tokens = list(symbols)
    rules = []
    for merge in MERGES:
        left, right = merge.replace("_", space).split(" ")
        if left not in tokens or right not in tokens:
            continue
        if left + right not in tokens:
            tokens.append(left + right)
            rules.append(left + " " + right)
    types = [NORMAL] * len(tokens) + [CONTROL] * len(SPECIALS)
    return tokens + SPECIALS, types, rules


def is_printable(token):
    """True for tokens of plain ASCII text, the only ones the model should like to say. U+0120 is the space's symbol."""
    return all(0x21 <= ord(c) < 0x7F or c == "\u0120" for c in token) and token not in SPECIALS


def tensors(tokens):
    """(name, dimensions, values) of every tensor; the first dimension is the row's length."""
    random = Lcg(20240229)

    def matrix(columns, rows, gain=1.0):
        scale = gain * math.sqrt(3.0 / columns)
        return array.array("f", (random.uniform() * scale for _ in range(columns * rows)))

    def ones(count):
        return array.array("f", [1.0] * count)

    count = len(tokens)
    kv_width = WIDTH // HEADS * KV_HEADS
    yield "token_embd.weight", [WIDTH, count], matrix(WIDTH, count, gain=8.0)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        yield prefix + "attn_norm.weight", [WIDTH], ones(WIDTH)
        yield prefix + "attn_q.weight", [WIDTH, WIDTH], matrix(WIDTH, WIDTH)
        yield prefix + "attn_k.weight", [WIDTH, kv_width], matrix(WIDTH, kv_width)
        yield prefix + "attn_v.weight", [WIDTH, kv_width], matrix(WIDTH, kv_width)
        yield prefix + "attn_output.weight", [WIDTH, WIDTH], matrix(WIDTH, WIDTH)
        yield prefix + "ffn_norm.weight", [WIDTH], ones(WIDTH)
        yield prefix + "ffn_gate.weight", [WIDTH, FFN], matrix(WIDTH, FFN)
        yield prefix + "ffn_up.weight", [WIDTH, FFN], matrix(WIDTH, FFN)
        yield prefix + "ffn_down.weight", [FFN, WIDTH], matrix(FFN, WIDTH)
    yield "output_norm.weight", [WIDTH], ones(WIDTH)
    output = array.array("f")
    for token in tokens:
        output.extend(matrix(WIDTH, 1, gain=2.0 if is_printable(token) else 0.1))
    yield "output.weight", [WIDTH, count], output


def string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def value(kind, data):
    if kind == STRING:
        return string(data)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], data)


def entry(key, kind, data):
    return string(key) + struct.pack("<I", kind) + value(kind, data)


def array_entry(key, kind, items):
    head = string(key) + struct.pack("<IIQ", ARRAY, kind, len(items))
    return head + b"".join(value(kind, item) for item in items)


def metadata(tokens, types, rules, options):
    entries = [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, "Tiny"),
        entry("general.file_type", U32, 0),
        entry("llama.context_length", U32, options.context),
        entry("llama.embedding_length", U32, WIDTH),
        entry("llama.block_count", U32, LAYERS),
        entry("llama.feed_forward_length", U32, FFN),
        entry("llama.attention.head_count", U32, HEADS),
        entry("llama.attention.head_count_kv", U32, KV_HEADS),
        entry("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        entry("llama.rope.dimension_count", U32, WIDTH // HEADS),
        entry("llama.rope.freq_base", F32, 10000.0),
        entry("llama.vocab_size", U32, len(tokens)),
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "gpt-2"),
        array_entry("tokenizer.ggml.tokens", STRING, tokens),
        array_entry("tokenizer.ggml.token_type", I32, types),
        array_entry("tokenizer.ggml.merges", STRING, rules),
        entry("tokenizer.ggml.bos_token_id", U32, tokens.index("<|endoftext|>")),
        entry("tokenizer.ggml.eos_token_id", U32, tokens.index("<|im_end|>")),
        entry("tokenizer.ggml.add_bos_token", BOOL, False),
    ]
    if options.template:
        entries.append(entry("tokenizer.chat_template", STRING, options.template))
    return entries


def padded(length):
    return (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def build(options):
    tokens, types, rules = vocabulary()
    entries = metadata(tokens, types, rules, options)
    infos, body = [], bytearray()
    for name, dimensions, values in tensors(tokens):
        if sys.byteorder == "big":
            values.byteswap()
        offset = len(body)
        if options.lie and name == "output_norm.weight":
            offset += 1 << 30
        infos.append(
            string(name)
            + struct.pack("<I", len(dimensions))
            + struct.pack(f"<{len(dimensions)}Q", *dimensions)
            + struct.pack("<IQ", TENSOR_F32, offset)
        )
        body += values.tobytes()
        body += bytes(padded(len(body)) - len(body))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(entries)) + b"".join(entries) + b"".join(infos)
    head += bytes(padded(len(head)) - len(head))
    data = head + bytes(body)
    return data if options.truncate is None else data[: options.truncate]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="the file to write")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--no-template", dest="template", action="store_const", const="", default=CHATML,
                       help="without a chat template")
    group.add_argument("--template", default=CHATML, metavar="TEXT", help="another chat template than ChatML")
    parser.add_argument("--context", type=int, default=512, metavar="N", help="trained context length (512)")
    parser.add_argument("--truncate", type=int, metavar="N", help="keep only the first N bytes")
    parser.add_argument("--lie", action="store_true", help="one tensor's data lies beyond the end of the file")
    options = parser.parse_args()
    if options.context < 1 or (options.truncate is not None and options.truncate < 0):
        parser.error("--context must be at least 1 and --truncate at least 0")
    with open(options.output, "wb") as file:
        file.write(build(options))


if __name__ == "__main__":
    main()

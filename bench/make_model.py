#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a GGUF model of a real model's shape with random weights, for measurements of speed.

The blocks of each format are drawn directly (no float model is made and quantized), so that a model of three billion
weights takes seconds and no more disk than itself. Scales are chosen such that every weight has mean nought and the
same spread, and activations stay in range. The text it generates means nothing. The same options give the same bytes.

    make_model.py --shape 3b --format q4_k_m OUT.gguf
"""

import argparse
import pathlib
import struct
import sys

import numpy as np

# GGUF value types, from the format's specification.
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
ALIGNMENT = 32

# name: (layers, width, heads, kv heads, head size, ffn, vocabulary)
SHAPES = {
    "0.85b": (16, 2048, 32, 4, 64, 5632, 32000),
    "3b": (28, 3072, 24, 8, 128, 8192, 32000),
    "tiny": (2, 256, 4, 2, 64, 512, 1024),
}

# type: (ggml's number, weights in a block, bytes in a block)
TYPES = {
    "f32": (0, 1, 4),
    "f16": (1, 1, 2),
    "q4_0": (2, 32, 18),
    "q4_1": (3, 32, 20),
    "q5_0": (6, 32, 22),
    "q5_1": (7, 32, 24),
    "q8_0": (8, 32, 34),
    "q4_k": (12, 256, 144),
    "q5_k": (13, 256, 176),
    "q6_k": (14, 256, 210),
    "bf16": (30, 1, 2),
}

# The general.file_type of each --format, as llama.cpp numbers them.
FILE_TYPES = {
    "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18, "bf16": 32,
}  # fmt: skip


def half(values):
    return np.asarray(values, dtype=np.float16).view(np.uint8).reshape(-1, 2)


def scales(random, count, size):
    """`count` block scales around `size`: as bytes of float16, and as floats."""
    scale = (size * random.uniform(0.75, 1.25, count)).astype(np.float16)
    return half(scale), scale.astype(np.float32)


def noise(random, count, width):
    return np.frombuffer(random.bytes(count * width), dtype=np.uint8).reshape(count, width)


def k_scales(random, count):
    """The 12 bytes of a Q4_K or Q5_K block: eight 6-bit scales, and eight 6-bit minima equal to them."""
    scale = random.integers(24, 64, (count, 8), dtype=np.uint8)
    low, high = scale[:, 0:4], scale[:, 4:8]
    first = low | ((high >> 4) << 6)
    return np.concatenate([first, first, (high & 15) | ((high & 15) << 4)], axis=1)


def floats(kind, random, count, spread):
    values = random.standard_normal(count, dtype=np.float32) * np.float32(spread)
    if kind == "f32":
        return values
    return values.astype(np.float16) if kind == "f16" else (values.view(np.uint32) >> 16).astype(np.uint16)


# type: (levels of one weight, bytes of a block that hold them)
LEVELS = {
    "q4_0": (16, 16), "q5_0": (32, 20), "q8_0": (256, 32), "q4_1": (16, 16), "q5_1": (32, 20), "q4_k": (16, 128),
    "q5_k": (32, 160), "q6_k": (64, 192),
}  # fmt: skip


def blocks(kind, random, count, spread):
    """`count` blocks whose weights have mean nought and about `spread` as standard deviation."""
    if kind not in LEVELS:
        return floats(kind, random, count, spread)
    levels, width = LEVELS[kind]
    step = spread * 3.46 / levels  # evenly drawn levels: the range is sqrt(12) standard deviations
    scale, size = scales(random, count, step / 44 if kind.endswith("_k") else step)
    middle = half(size * (levels - 1) / 2 * (-1 if kind.endswith("_1") else 1))
    if kind == "q6_k":
        parts = [noise(random, count, width), random.integers(24, 64, (count, 16), dtype=np.uint8), scale]
    elif kind.endswith("_k"):
        parts = [scale, middle, k_scales(random, count), noise(random, count, width)]
    elif kind.endswith("_1"):
        parts = [scale, middle, noise(random, count, width)]
    else:
        parts = [scale, noise(random, count, width)]
    return np.concatenate(parts, axis=1)


def kind_for(name, layer, layers, choice):
    """Which format a matrix of a file of the wanted format has, as llama-quantize would choose."""
    if name == "output" and choice in ("q4_0", "q4_1", "q5_0", "q5_1", "q4_k_m", "q5_k_m"):
        return "q6_k"
    if not choice.endswith("_k_m"):
        return choice
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return "q6_k" if name in ("attn_v", "ffn_down") and more else choice[:-2]


def tensors(shape, choice):
    layers, width, heads, kv_heads, head, ffn, vocabulary = shape
    matrices = (
        ("attn_q", width, heads * head), ("attn_k", width, kv_heads * head), ("attn_v", width, kv_heads * head),
        ("attn_output", heads * head, width), ("ffn_gate", width, ffn), ("ffn_up", width, ffn), ("ffn_down", ffn, width),
    )  # fmt: skip
    yield "token_embd.weight", kind_for("token_embd", 0, layers, choice), (width, vocabulary)
    for layer in range(layers):
        yield f"blk.{layer}.attn_norm.weight", "one", (width,)
        yield f"blk.{layer}.ffn_norm.weight", "one", (width,)
        for name, columns, rows in matrices:
            yield f"blk.{layer}.{name}.weight", kind_for(name, layer, layers, choice), (columns, rows)
    yield "output_norm.weight", "one", (width,)
    yield "output.weight", kind_for("output", 0, layers, choice), (width, vocabulary)


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, data):
    packed = string(data) if kind == STRING else struct.pack("<f" if kind == F32 else "<I", data)
    return string(key) + struct.pack("<I", kind) + packed


def listed(key, kind, count, data):
    return string(key) + struct.pack("<IIQ", ARRAY, kind, count) + data


def entries(name, shape, choice):
    layers, width, heads, kv_heads, head, ffn, vocabulary = shape
    # Byte tokens first, so that any text can be read; the rest are words that no text contains.
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [2, 3, 3] + [6] * 256 + [1] * (vocabulary - len(tokens))
    tokens += [f"\u2581w{index}" for index in range(vocabulary - len(tokens))]
    return [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, f"Random {name}"),
        entry("general.file_type", U32, FILE_TYPES[choice]),
        entry("llama.context_length", U32, 8192),
        entry("llama.embedding_length", U32, width),
        entry("llama.block_count", U32, layers),
        entry("llama.feed_forward_length", U32, ffn),
        entry("llama.attention.head_count", U32, heads),
        entry("llama.attention.head_count_kv", U32, kv_heads),
        entry("llama.attention.key_length", U32, head),
        entry("llama.attention.value_length", U32, head),
        entry("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        entry("llama.rope.dimension_count", U32, head),
        entry("llama.rope.freq_base", F32, 10000.0),
        entry("tokenizer.ggml.model", STRING, "llama"),
        entry("tokenizer.ggml.bos_token_id", U32, 1),
        entry("tokenizer.ggml.eos_token_id", U32, 2),
        listed("tokenizer.ggml.tokens", STRING, vocabulary, b"".join(map(string, tokens))),
        listed("tokenizer.ggml.scores", F32, vocabulary, np.zeros(vocabulary, "<f4").tobytes()),
        listed("tokenizer.ggml.token_type", I32, vocabulary, np.array(types, "<i4").tobytes()),
    ]


def drawn(kind, random, count, columns):
    """The bytes of one tensor, in parts so that memory stays small."""
    part = 1 << 20
    for at in range(0, count, part):
        wanted = min(part, count - at)
        data = np.ones(wanted, "<f4") if kind == "one" else blocks(kind, random, wanted, 1.0 / np.sqrt(columns))
        yield np.ascontiguousarray(data).tobytes()


def write(path, name, choice):
    shape = SHAPES[name]
    plan = []
    infos = b""
    offset = 0
    for tensor, kind, dimensions in tensors(shape, choice):
        number, weights, size = TYPES["f32" if kind == "one" else kind]
        count = int(np.prod(dimensions)) // weights
        infos += string(tensor) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        infos += struct.pack("<IQ", number, offset)
        plan.append((kind, count, dimensions[0]))
        offset += -(-count * size // ALIGNMENT) * ALIGNMENT
    metadata = entries(name, shape, choice)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(plan), len(metadata)) + b"".join(metadata) + infos
    random = np.random.default_rng(20240229)
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for kind, count, columns in plan:
            for data in drawn(kind, random, count, columns):
                out.write(data)
            out.write(b"\0" * (-out.tell() % ALIGNMENT))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--format", choices=sorted(FILE_TYPES), required=True)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    write(options.out, options.shape, options.format)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())

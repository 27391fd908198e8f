#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the smallest decoders there can be into a folder:   make_tiny_decoders.py FOLDER

FOLDER/decoder-grown (past and present as tensors that grow), FOLDER/decoder-counted (the same, but the graph counts positions itself, by
the past's length) and FOLDER/decoder-shared (GroupQueryAttention, whose past and present can be one buffer), each with a tokenizer
of whole words "w0" ... "w17", a chat template and configurations. FOLDER/decoder-kept is the shared one with a configuration that
forbids to share, and with bytes for some words; FOLDER/decoder-strange has an input that nobody knows. All fail at run time when
the end's token is an input: it has no row in the table of words. The same bytes each time, with Python's own library alone. Their texts mean nothing; what they
are made for is that every token depends on all tokens before it, and on none that the mask hides.
"""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from make_onnx import data, int_attribute, model, node, number, tensor, value  # noqa: E402

WORDS = [*(f"w{index}" for index in range(18)), "<s>", "</s>"]
WIDTH = 8
BOS, EOS = 18, 19
CONTEXT = 64


def weights(count, seed):
    """Numbers between -1 and 1 from a small generator of our own."""
    out = []
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(seed / 0x40000000 - 1)
    return struct.pack(f"<{count}f", *out)


def whole(name, *numbers):
    return tensor(name, "int64", [len(numbers)], struct.pack(f"<{len(numbers)}q", *numbers))


def shared_weights():
    count = len(WORDS)
    return [
        tensor("words", "float32", [count - 1, WIDTH], weights((count - 1) * WIDTH, 7)),
        tensor("out", "float32", [WIDTH, count], weights(WIDTH * count, 99)),
        whole("one", 1),
    ]


def ends(kv_positions):
    inputs = [
        value("input_ids", "int64", ["batch", "tokens"]),
        value("attention_mask", "int64", ["batch", "positions"]),
        value("past_key_values.0.key", "float32", ["batch", 1, "past", WIDTH]),
        value("past_key_values.0.value", "float32", ["batch", 1, "past", WIDTH]),
    ]
    outputs = [
        value("logits", "float32", ["batch", "tokens", len(WORDS)]),
        value("present.0.key", "float32", ["batch", 1, kv_positions, WIDTH]),
        value("present.0.value", "float32", ["batch", 1, kv_positions, WIDTH]),
    ]
    return inputs, outputs


def grown(extra=(), counted=False):
    """Each position adds its word and its place; hidden positions add nothing."""
    nodes = [
        node("Gather", ["words", "input_ids"], ["word"]),
        node("Gather", ["places", "positions"], ["place"]),
        node("Add", ["word", "place"], ["x"]),
        node("Unsqueeze", ["x", "one"], ["fresh"]),
        node("Concat", ["past_key_values.0.key", "fresh"], ["present.0.key"], attributes=int_attribute("axis", 2)),
        node("Concat", ["past_key_values.0.value", "fresh"], ["present.0.value"], attributes=int_attribute("axis", 2)),
        node("Cast", ["attention_mask"], ["mask"], attributes=int_attribute("to", 1)),
        node("Unsqueeze", ["mask", "sides"], ["column"]),
        node("Mul", ["present.0.value", "column"], ["seen"]),
        node("ReduceSum", ["seen", "two"], ["sum"], attributes=int_attribute("keepdims", 0)),  # [batch, 1, width]
        node("Add", ["sum", "x"], ["state"]),
        node("Tanh", ["state"], ["bent"]),
        node("MatMul", ["bent", "out"], ["logits"]),
    ]
    inputs, outputs = ends("positions")
    numbers = [scalar("zero", 0), scalar("first", 1), scalar("third", 2)]
    if counted:
        nodes[:0] = [
            node("Shape", ["past_key_values.0.key"], ["past_shape"]),
            node("Gather", ["past_shape", "third"], ["before"]),
            node("Shape", ["input_ids"], ["ids_shape"]),
            node("Gather", ["ids_shape", "first"], ["tokens"]),
            node("Add", ["before", "tokens"], ["behind"]),
            node("Range", ["before", "behind", "first"], ["positions"]),
        ]
    else:
        nodes[:0] = [node("Identity", ["position_ids"], ["positions"])]
        inputs.append(value("position_ids", "int64", ["batch", "tokens"]))
    places = tensor("places", "float32", [CONTEXT, WIDTH], weights(CONTEXT * WIDTH, 1234))
    more = [*numbers, places, whole("sides", 1, 3), whole("two", 2)]
    return model(nodes, [*inputs, *extra], outputs, [*shared_weights(), *more], "grown")


def scalar(name, one):
    return number(2, 7) + data(8, name) + data(9, struct.pack("<q", one))


def shared():
    domain = "com.microsoft"
    heads = int_attribute("num_heads", 1) + int_attribute("kv_num_heads", 1)
    to_int32 = int_attribute("to", 6)
    nodes = [
        node("Gather", ["words", "input_ids"], ["x"]),
        node("ReduceSum", ["attention_mask", "one"], ["ones"], attributes=int_attribute("keepdims", 0)),
        node("Sub", ["ones", "one"], ["last"]),
        node("Cast", ["last"], ["lengths"], attributes=to_int32),
        node("Shape", ["attention_mask"], ["shape"]),
        node("Gather", ["shape", "second"], ["width"]),
        node("Cast", ["width"], ["total"], attributes=to_int32),
        node(
            "GroupQueryAttention",
            ["x", "x", "x", "past_key_values.0.key", "past_key_values.0.value", "lengths", "total"],
            ["mixed", "present.0.key", "present.0.value"],
            domain,
            heads,
        ),
        node("Add", ["mixed", "x"], ["state"]),
        node("Tanh", ["state"], ["bent"]),
        node("MatMul", ["bent", "out"], ["logits"]),
    ]
    inputs, outputs = ends("present")
    return model(nodes, inputs, outputs, [*shared_weights(), scalar("second", 1)], "shared", [domain])


TEMPLATE = "{% for message in messages %}<s> {{ message.content }} {% endfor %}{% if add_generation_prompt %}w0{% endif %}"


# The bytes of one character, in its order.
BYTES = {1: "<0xE2>", 2: "<0x82>", 3: "<0xAC>"}


def tokenizer(with_bytes=False):
    added = [
        {"id": index, "content": WORDS[index], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for index in (BOS, EOS)
    ]  # fmt: skip
    vocabulary = {BYTES.get(index, word) if with_bytes else word: index for index, word in enumerate(WORDS)}
    fuse = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": fuse if with_bytes else None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w17"},
    }  # fmt: skip


def write(folder, graph, with_bytes=False):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph)
    config = {"architectures": ["TinyForCausalLM"], "model_type": "tiny", "max_position_embeddings": CONTEXT}
    files = {
        "tokenizer.json": tokenizer(with_bytes),
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE},
        "config.json": config,
        "generation_config.json": {"eos_token_id": [EOS]},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1))


def main():
    folder = Path(sys.argv[1])
    write(folder / "decoder-grown", grown())
    write(folder / "decoder-counted", grown(counted=True))
    write(folder / "decoder-shared", shared())
    write(folder / "decoder-kept", shared(), with_bytes=True)
    forbidden = {"search": {"past_present_share_buffer": False}, "model": {"decoder": {"filename": "model.onnx"}}}
    (folder / "decoder-kept" / "genai_config.json").write_text(json.dumps(forbidden))
    write(folder / "decoder-strange", grown([value("past_of_the_moon", "float32", ["moons"])]))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face folder with a real model's vocabulary, put together from llama.cpp's vocabulary-only GGUF file.

The tokenizers of the models themselves lie on a hub; these files were made from them by llama.cpp's own converter, with
texts and the ids that the original tokenizers gave. So the way back and forth again, at full size, has to end where it
began. The weights are one number a row.
"""

import json

import numpy as np
from safetensors.numpy import save_file

from make_tiny_hf import LLAMA3_WORDS, QWEN2_WORDS, message, varint
from read_gguf import read_gguf

# Vocabulary file: (what its tokenizer.json's pre_tokenizer lists, whether whole words come before merges).
BYTES_REGEX = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES = {**BYTES_REGEX, "use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}


def split(words):
    return {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}


BYTE_LEVEL = {
    "llama-bpe": ([split(LLAMA3_WORDS), BYTES], True),
    "qwen2": ([split(QWEN2_WORDS), BYTES], False),
    "gpt-2": ([BYTES_REGEX], False),
    "starcoder": ([DIGITS, BYTES_REGEX], False),
}
SENTENCEPIECE = ("llama-spm", "phi-3")
MERGED = ("llama-spm",)  # the same from a tokenizer.json


def weights(folder, metadata):
    """One layer that is as small as can be; its numbers do not matter."""
    hidden, count = 32, len(metadata["tokenizer.ggml.tokens"])
    at = "model.layers.0"
    shapes = {"model.embed_tokens.weight": (count, hidden), "model.norm.weight": (hidden,)}
    shapes.update({f"{at}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")})
    shapes.update({f"{at}.self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"})
    shapes.update({f"{at}.mlp.{part}_proj.weight": (hidden, hidden) for part in ("gate", "up", "down")})
    save_file({name: np.full(shape, 0.01, np.float16) for name, shape in shapes.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": hidden,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 64,
        "vocab_size": count,
        "tie_word_embeddings": True,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
    }
    (folder / "config.json").write_text(json.dumps(config))


def byte_level(folder, metadata, name):
    steps, ignore_merges = BYTE_LEVEL[name]
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    added = [
        {"id": index, "content": text, "special": types[index] == 3, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False}
        for index, text in enumerate(tokens)
        if types[index] in (3, 4)
    ]  # fmt: skip
    model = {
        "type": "BPE",
        "ignore_merges": ignore_merges,
        "vocab": {text: index for index, text in enumerate(tokens) if types[index] == 1},
        "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
    }
    content = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "decoder": BYTES_REGEX,
        "model": model,
    }
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def sentencepiece(folder, metadata):
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    scores = metadata["tokenizer.ggml.scores"]
    # What SentencePiece had: the rest was added by tokenizer_config.json, with the score -1000, or fills up.
    plain = [index for index in range(len(tokens)) if scores[index] != -1000.0 and types[index] != 5 or index < 3]
    out = b""
    for index in range(max(plain) + 1):
        score = b"\x15" + np.float32(scores[index]).tobytes()
        out += message(1, message(1, tokens[index].encode()) + score + b"\x18" + bytes([types[index]]))
    trainer = b"\x18\x02"  # field 3, model_type: BPE
    (folder / "tokenizer.model").write_bytes(out + message(2, trainer) + message(3, varint(3 << 3) + b"\x01"))
    added = {
        index: {"content": text, "special": types[index] == 3, "rstrip": text.startswith("<|")}
        for index, text in enumerate(tokens)
        if types[index] in (3, 4) and scores[index] == -1000.0
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))


def merged(folder, metadata):
    """What SentencePiece does by scores, as the list of merges that Hugging Face's files have for it."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    scores = metadata["tokenizer.ggml.scores"]
    ids = {text: index for index, text in enumerate(tokens)}
    merges = []
    for text, index in ids.items():
        if types[index] == 1:
            pairs = [(text[:at], text[at:]) for at in range(1, len(text)) if text[:at] in ids and text[at:] in ids]
            pairs.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
            merges += [(scores[index], pair) for pair in pairs]
    merges.sort(key=lambda merge: -merge[0])
    content = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": tokens[index], "special": True} for index in range(3)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "vocab": ids,
            "merges": [" ".join(pair) for _, pair in merges],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def make_vocabulary(folder, source, name, from_merges=False):
    """`source`: llama.cpp's ggml-vocab-NAME.gguf. Gives its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata, _ = read_gguf(source)
    weights(folder, metadata)
    if name in BYTE_LEVEL:
        byte_level(folder, metadata, name)
    elif from_merges:
        merged(folder, metadata)
    else:
        sentencepiece(folder, metadata)
    return metadata


def cases(source):
    """The texts beside such a file and the ids of each."""
    texts = source.with_name(source.name + ".inp").read_bytes().decode("utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    lines = source.with_name(source.name + ".out").read_text().splitlines()
    return [(text, [int(word) for word in line.split()]) for text, line in zip(texts, lines, strict=True)]

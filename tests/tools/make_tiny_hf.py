#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiny Hugging Face folders with random weights from a fixed seed, to test conversion number by number.

make(folder, kind, ...) writes config.json, the weights, and a tokenizer trained on CORPUS. They say nothing sensible; what
counts is that another implementation computes the same from them. Usage: make_tiny_hf.py OUT_FOLDER KIND
"""

import json
import sys
from pathlib import Path

import numpy as np
import safetensors
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog; the dog was not amused, and he'll say so.",
    "It's 12 o'clock, 345 people and 67890 numbers. Don't you think we've seen enough? I'm sure they're here!",
    "def main(argc, argv):\n    for i in range(10):\n        print(i, i * i)\n\n    return 0\n",
    "Größe, Übung, façade, naïve, Straße; el niño comió mañana. Où est la bibliothèque ?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Привет, мир!",
    "今日は良い天気です。東京へ行きました。日本語の文章を分けるのは難しい。",
    "   spaces   and\ttabs\t\tand\n\n\nnew lines   ",
    "emoji 🚀🔥😀 and symbols ©®™ → ∞ ½",
    "<|im_start|>user\nHello there<|im_end|>\n",
]

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# --- tokenizers ---


def byte_level(words, path, bos=None, ignore_merges=False, merges_as_text=False):
    """A byte-level BPE. `words`: a regular expression, "digits" (SmolLM's way) or None (GPT-2's way)."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if words is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif words == "digits":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(words), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS * 4,
        trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    specials = ["<|begin_of_text|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens(["<think>", "</think>"])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    tokenizer.save(str(path / "tokenizer.json"))
    if merges_as_text:
        # The older form of the file.
        content = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        (path / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": bos}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def merges_of(pieces):
    """Every pair of pieces that makes a piece, the best piece first: how such lists are made from SentencePiece models."""
    ids = {piece: index for index, piece in enumerate(pieces)}
    merges = []
    for piece in pieces[259:]:
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece)) if piece[:at] in ids and piece[at:] in ids]
        merges += sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return merges


def sentencepiece(path, names, prefix, with_model=False, with_json=True, strips=False):
    """BPE with SentencePiece's marks, as tokenizer.json, tokenizer.model or both."""
    trainer = Tokenizer(models.BPE())
    trainer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer.train_from_iterator(CORPUS * 4, trainers.BpeTrainer(vocab_size=420, show_progress=False))
    found = sorted(trainer.get_vocab().items(), key=lambda item: item[1])
    words = [text for text, _ in found if len(text) > 1 and "\n" not in text]
    letters = [text for text, _ in found if len(text) == 1 and text != "\n"]
    pieces = list(names) + [f"<0x{byte:02X}>" for byte in range(256)] + words + letters
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges_of(pieces), unk_token=names[0], fuse_unk=True, byte_fallback=True)
    )
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    more = [AddedToken("<|end|>", normalized=False, special=True, rstrip=strips)]
    if strips:  # Phi-3's tokens swallow white space after them, but for this one
        more += [AddedToken("<|endoftext|>", normalized=False, special=True)]
        more += [AddedToken("<|user|>", normalized=False, special=True, rstrip=True)]
    tokenizer.add_special_tokens(more)
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False, rstrip=strips)])
    bos = names[1]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 1)])
    if with_json:
        tokenizer.save(str(path / "tokenizer.json"))
    if with_model:
        (path / "tokenizer.model").write_bytes(sentencepiece_bytes(pieces, len(names), prefix))
    settings = {"bos_token": bos, "eos_token": {"content": names[2]}, "unk_token": names[0], "add_bos_token": True}
    if not with_json:
        settings["added_tokens_decoder"] = {
            index: {"content": token.content, "special": token.special, "rstrip": token.rstrip}
            for index, token in tokenizer.get_added_tokens_decoder().items()
        }
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def sentencepiece_bytes(pieces, named, prefix):
    """The protocol buffer ModelProto of the sentencepiece project, with what a BPE model needs."""
    out = b""
    for index, piece in enumerate(pieces):
        kind = 2 if index == 0 else 3 if index < named else 6 if index < named + 256 else 1
        score = 0.0 if index < named + 256 else -float(index - named - 256)
        out += message(1, message(1, piece.encode()) + varint(2 << 3 | 5) + np.float32(score).tobytes() + b"\x18" + bytes([kind]))
    trainer = varint(3 << 3) + varint(2) + varint(40 << 3) + varint(0) + varint(41 << 3) + varint(1) + varint(42 << 3) + varint(2)
    return out + message(2, trainer) + message(3, varint(3 << 3) + varint(int(prefix)) + varint(4 << 3) + varint(0))


# --- models ---

BASE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "vocab_size": 704,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
GEMMA = {"hidden_act": "gelu_pytorch_tanh", "head_dim": 32, "tie_word_embeddings": True, "query_pre_attn_scalar": 32}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA2 = {**GEMMA, "sliding_window": 8, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
GEMMA3 = {**GEMMA, "sliding_window": 8, "sliding_window_pattern": 2, "rope_theta": 1e6, "rope_local_base_freq": 1e4}

LLAMA_BPE = lambda path: byte_level(LLAMA3_WORDS, path, "<|begin_of_text|>", ignore_merges=True)  # noqa: E731
QWEN = lambda path: byte_level(QWEN2_WORDS, path)  # noqa: E731
SMOL = lambda path: byte_level("digits", path, merges_as_text=True)  # noqa: E731
GPT2 = lambda path: byte_level(None, path)  # noqa: E731
GPT4O = lambda path: byte_level(GPT4O_WORDS, path)  # noqa: E731
LLAMA_SPM = lambda path: sentencepiece(path, ["<unk>", "<s>", "</s>"], True)  # noqa: E731
LLAMA_SPM_MODEL = lambda path: sentencepiece(path, ["<unk>", "<s>", "</s>"], True, True, False)  # noqa: E731
PHI3_SPM = lambda path: sentencepiece(path, ["<unk>", "<s>", "</s>"], True, True, strips=True)  # noqa: E731
GEMMA_SPM = lambda path: sentencepiece(path, ["<unk>", "<bos>", "<eos>"], False)  # noqa: E731
GEMMA_SPM_MODEL = lambda path: sentencepiece(path, ["<unk>", "<bos>", "<eos>"], False, True)  # noqa: E731

PHI3_LONG = {"type": "longrope", "long_factor": [1.0 + i / 4 for i in range(8)], "short_factor": [1.0 + i / 16 for i in range(8)]}
KINDS = {
    "llama": ("LlamaForCausalLM", {}, LLAMA_SPM),
    "llama-model": ("LlamaForCausalLM", {}, LLAMA_SPM_MODEL),
    "llama-tied": ("LlamaForCausalLM", {"tie_word_embeddings": True}, SMOL),
    "llama-mha-bias": ("LlamaForCausalLM", {"num_key_value_heads": 4, "attention_bias": True}, GPT2),
    "llama-3": ("LlamaForCausalLM", {"rope_scaling": LLAMA3_ROPE, "rope_theta": 5e5, "head_dim": 32}, LLAMA_BPE),
    "llama-linear": ("LlamaForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0}}, LLAMA_SPM),
    "qwen2": ("Qwen2ForCausalLM", {"attention_bias": True, "use_sliding_window": False}, QWEN),
    "qwen2-yarn": (
        "Qwen2ForCausalLM",
        {"attention_bias": True, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
        QWEN,
    ),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 32, "tie_word_embeddings": True}, QWEN),
    "gemma": ("GemmaForCausalLM", {**GEMMA, "num_key_value_heads": 1}, GEMMA_SPM),
    "gemma2": ("Gemma2ForCausalLM", GEMMA2, GEMMA_SPM_MODEL),
    "gemma3": ("Gemma3ForCausalLM", GEMMA3, GEMMA_SPM),
    "phi3": ("Phi3ForCausalLM", {"original_max_position_embeddings": 256}, PHI3_SPM),
    "phi3-long": ("Phi3ForCausalLM", {"original_max_position_embeddings": 64, "rope_scaling": PHI3_LONG}, GPT4O),
}


def shapes_of(kind, config):
    """{tensor name: shape} of an architecture."""
    architecture = config["architectures"][0]
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        norms = ["input_layernorm", "post_attention_layernorm"]
        if architecture in ("Gemma2ForCausalLM", "Gemma3ForCausalLM"):
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        shapes.update({f"{at}.{norm}.weight": (hidden,) for norm in norms})
        if architecture in ("Qwen3ForCausalLM", "Gemma3ForCausalLM"):
            shapes.update({f"{at}.self_attn.{part}_norm.weight": (head,) for part in "qk"})
        if architecture == "Phi3ForCausalLM":
            shapes[f"{at}.self_attn.qkv_proj.weight"] = (q + 2 * kv, hidden)
            shapes[f"{at}.mlp.gate_up_proj.weight"] = (2 * wide, hidden)
        else:
            shapes.update({f"{at}.self_attn.{part}_proj.weight": (size, hidden) for part, size in zip("qkv", (q, kv, kv))})
            shapes.update({f"{at}.mlp.{part}_proj.weight": (wide, hidden) for part in ("gate", "up")})
        if config.get("attention_bias"):
            shapes.update({f"{at}.self_attn.{part}_proj.bias": (size,) for part, size in zip("qkv", (q, kv, kv))})
        shapes[f"{at}.self_attn.o_proj.weight"] = (hidden, q)
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, wide)
    return shapes


def random_weights(shapes, gemma):
    random = np.random.default_rng(20240917)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("norm.weight"):
            weights[name] = random.normal(0.0 if gemma else 1.0, 0.2, shape)
        elif "embed" in name:
            weights[name] = random.normal(0.0, 0.5, shape)
        else:
            weights[name] = random.normal(0.0, 1.4 / np.sqrt(shape[-1]), shape)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def stored(values, dtype):
    """The numbers as a file of this type holds them, and that file's own array of them."""
    if dtype == "float32":
        return values, values
    if dtype == "float16":
        halves = values.astype(np.float16)
        return halves.astype(np.float32), halves
    bits = values.view(np.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to the nearest, ties to even
    return (bits << 16).astype(np.uint32).view(np.float32).copy(), bits.astype(np.uint16)


def save(folder, weights, dtype, shards):
    names = sorted(weights)
    parts = [names[index::shards] for index in range(shards)]
    where = {}
    for index, part in enumerate(parts):
        file = "model.safetensors" if shards == 1 else f"model-{index + 1:05}-of-{shards:05}.safetensors"
        content, alive = {}, []
        for name in part:
            weights[name], data = stored(weights[name], dtype)
            alive.append(data)  # the writer takes addresses
            content[name] = safetensors.TensorSpec(
                dtype=dtype, shape=list(data.shape), data_ptr=data.ctypes.data, data_len=data.nbytes
            )
            where[name] = file
        (folder / file).write_bytes(safetensors.serialize(content))
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def make(folder, kind, dtype="float32", shards=1):
    """Writes the folder; gives (config, weights as stored, tokenizer)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    architecture, own, make_tokenizer = KINDS[kind]
    config = {**BASE, **own, "architectures": [architecture], "torch_dtype": dtype}
    weights = random_weights(shapes_of(kind, config), kind.startswith("gemma"))
    save(folder, weights, dtype, shards)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return config, weights, make_tokenizer(folder)


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2])

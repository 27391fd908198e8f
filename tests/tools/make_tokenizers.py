# SPDX-License-Identifier: Apache-2.0
"""Real models' tokenizers as tokenizer.json files, from llama.cpp's vocabulary-only GGUF files.

Tokens, merges, scores and SentencePiece's table of characters are the models' own; the steps around them are written
here as the models' own files have them.
"""

import base64
import json

from make_tiny_hf import LLAMA3_WORDS, QWEN2_WORDS
from make_vocabulary_hf import BYTES, BYTES_REGEX, DIGITS, split
from read_gguf import read_gguf

NUMBERS3 = split("[0-9][0-9][0-9]")
# Letters of the scripts that DeepSeek's first tokenizer takes as words; a shortened list would cut other words.
DEEPSEEK = [
    split("[\r\n]"),
    split("\\s?\\p{L}+"),
    split("\\s?\\p{P}+"),
    split("[一-龥ࠀ-一가-퟿]+"),
    {"type": "Digits", "individual_digits": True},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
]
FALCON = [
    {"type": "Punctuation", "behavior": "Contiguous"},
    BYTES_REGEX,
    {"type": "Digits", "individual_digits": False},
    NUMBERS3,
]
ROBERTA = {"type": "RobertaProcessing", "sep": ["<|endoftext|>", 50256], "cls": ["<|endoftext|>", 50256],
           "trim_offsets": True, "add_prefix_space": True}  # fmt: skip


def trims(trim):
    return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": trim, "use_regex": True}


def sequence(steps, key):
    return {"type": "Sequence", key: steps}


def around(before, after, ids, middle=()):
    """before A after, and before A after *middle B after."""

    def special(name, kind):
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def text(name, kind):
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [*(special(name, 0) for name in before), text("A", 0), *(special(name, 0) for name in after)]
    pair = single + [*(special(name, 1) for name in middle), text("B", 1), *(special(name, 1) for name in after)]
    used = {*before, *after, *middle}
    tokens = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in used}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}


# name: (file, normalizer, pre-tokenizer, post-processor from ids, ignore_merges)
BYTE_LEVEL = {
    "gpt-2": ("gpt-2", None, BYTES_REGEX, lambda ids: trims(False), False),
    "gpt-2-roberta": ("gpt-2", None, {**BYTES_REGEX, "add_prefix_space": True}, lambda ids: ROBERTA, False),
    "llama-3": ("llama-bpe", None, sequence([split(LLAMA3_WORDS), BYTES], "pretokenizers"),
                lambda ids: sequence([trims(True), around(["<|begin_of_text|>"], [], ids, ["<|begin_of_text|>"])], "processors"), True),
    "qwen2": ("qwen2", {"type": "NFC"}, sequence([split(QWEN2_WORDS), BYTES], "pretokenizers"), lambda ids: trims(False), False),
    "starcoder": ("starcoder", None, sequence([DIGITS, BYTES_REGEX], "pretokenizers"), lambda ids: trims(True), False),
    "falcon": ("falcon", None, sequence(FALCON, "pretokenizers"), None, False),
    "deepseek": ("deepseek-llm", None, sequence(DEEPSEEK, "pretokenizers"),
                 lambda ids: around(["<｜begin▁of▁sentence｜>"], [], ids), False),
    "command-r": ("command-r", {"type": "NFC"}, sequence([DIGITS, BYTES_REGEX], "pretokenizers"), None, False),
    "gpt-neox": ("gpt-neox", {"type": "NFC"}, BYTES_REGEX, None, False),
}  # fmt: skip

# Whose vocabulary does not hold the special tokens: they follow it.
ADDED_LATER = ("llama-3", "qwen2", "deepseek")


def added_tokens(metadata, kinds, **more):
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    return [
        {"id": index, "content": text, "special": types[index] == 3, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False, **more}
        for index, text in enumerate(tokens)
        if types[index] in kinds
    ]  # fmt: skip


def byte_level(metadata, name):
    _, normalizer, before, after, ignore_merges = BYTE_LEVEL[name]
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    ids = {text: index for index, text in enumerate(tokens)}
    return {
        "added_tokens": added_tokens(metadata, (3, 4)),
        "normalizer": normalizer,
        "pre_tokenizer": before,
        "post_processor": after(ids) if after else None,
        "decoder": BYTES_REGEX,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
            "vocab": {text: index for index, text in enumerate(tokens) if types[index] == 1 or name not in ADDED_LATER},
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    }  # fmt: skip


def scored_merges(tokens, types, scores):
    ids = {text: index for index, text in enumerate(tokens)}
    merges = []
    for text, index in ids.items():
        if types[index] != 1:
            continue
        pairs = [(text[:at], text[at:]) for at in range(1, len(text)) if text[:at] in ids and text[at:] in ids]
        pairs.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(scores[index], pair) for pair in pairs]
    merges.sort(key=lambda merge: -merge[0])
    return [list(pair) for _, pair in merges]


REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
LLAMA_DECODER = sequence(
    [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
    "decoders",
)


def llama_2(metadata, rstrip):
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    ids = {text: index for index, text in enumerate(tokens)}
    added = added_tokens(metadata, (2, 3, 4), rstrip=rstrip)
    for token in added:
        token["special"] = token["special"] or token["content"] == "<unk>"
    return {
        "added_tokens": added,
        "normalizer": sequence([{"type": "Prepend", "prepend": "▁"}, REPLACED], "normalizers"),
        "pre_tokenizer": None,
        "post_processor": around(["<s>"], [], ids, ["<s>"]),
        "decoder": LLAMA_DECODER,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": ids, "merges": scored_merges(tokens, types, metadata["tokenizer.ggml.scores"]),
        },
    }  # fmt: skip


def xlm_roberta(metadata):
    tokens, scores = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.scores"]
    ids = {text: index for index, text in enumerate(tokens)}
    charsmap = bytes(value & 255 for value in metadata["tokenizer.ggml.precompiled_charsmap"])
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    added = [
        {"id": ids[name], "content": name, "special": True, "normalized": False, "single_word": False,
         "lstrip": name == "<mask>", "rstrip": False}
        for name in names
    ]  # fmt: skip
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "added_tokens": added,
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
        "pre_tokenizer": sequence([{"type": "WhitespaceSplit"}, space], "pretokenizers"),
        "post_processor": around(["<s>"], ["</s>"], ids, ["</s>"]),
        "decoder": space,
        "model": {
            "type": "Unigram", "unk_id": 3, "byte_fallback": False,
            "vocab": [[text, float(score)] for text, score in zip(tokens, scores, strict=True)],
        },
    }  # fmt: skip


def bge(metadata):
    """llama.cpp marks what begins a word; WordPiece marks what goes on."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    vocab = {}
    for index, text in enumerate(tokens):
        if types[index] == 1:
            text = text[1:] if text.startswith("▁") else "##" + text
        vocab[text] = index
    added = [
        {"id": vocab[name], "content": name, "special": True, "normalized": False, "single_word": False,
         "lstrip": name == "[MASK]", "rstrip": False}
        for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    ]  # fmt: skip
    return {
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": False,
                       "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    }  # fmt: skip


OTHERS = {
    "llama-2": ("llama-spm", lambda metadata: llama_2(metadata, False)),
    "phi-3": ("phi-3", lambda metadata: llama_2(metadata, True)),
    "xlm-roberta": ("nomic-bert-moe", xlm_roberta),
    "bge": ("bert-bge", bge),
}
NAMES = [*BYTE_LEVEL, *OTHERS]


def make_tokenizer(models, name, path):
    """`models`: the folder of the GGUF files. Writes `path`."""
    file = BYTE_LEVEL[name][0] if name in BYTE_LEVEL else OTHERS[name][0]
    metadata, _ = read_gguf(models / f"ggml-vocab-{file}.gguf")
    content = byte_level(metadata, name) if name in BYTE_LEVEL else OTHERS[name][1](metadata)
    path.write_text(json.dumps({"version": "1.0", **content}, ensure_ascii=False), encoding="utf-8")
    return path

# SPDX-License-Identifier: Apache-2.0
"""The files beside a decoder's graph: config.json, generation_config.json, genai_config.json, and the tokenizer's."""

import json

from tokenizers import Tokenizer

from make_tiny_hf import byte_level, sentencepiece
from make_vocabulary_hf import BYTES_REGEX, DIGITS

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# What Phi-3's own template makes of roles that it knows; its tokens swallow the white space after them.
PHI3 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] in ['system', 'user', 'assistant'] %}"
    "{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def settings(folder, template, bos, eos, pad, unk=None, **more):
    tokens = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "unk_token": unk}
    write_json(folder / "tokenizer_config.json", {
        **{name: word for name, word in tokens.items() if word is not None},
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        **more,
    })  # fmt: skip


def tiny_tokenizer(folder):
    """Byte-level BPE of some 500 tokens and ChatML; gives (special ids, ids that are no plain ASCII text)."""
    tokenizer = byte_level("digits", folder)
    settings(folder, CHATML, "<|begin_of_text|>", "<|im_end|>", "<|endoftext|>", add_bos_token=False,
             tokenizer_class="PreTrainedTokenizerFast")  # fmt: skip
    ids = {name: tokenizer.token_to_id(f"<|{word}|>") for name, word in
           (("bos", "begin_of_text"), ("eos", "im_end"), ("pad", "endoftext"))}  # fmt: skip
    return ids, unplain(tokenizer)


def phi3_tokenizer(folder):
    """BPE with SentencePiece's marks and Phi-3's special tokens."""
    tokenizer = sentencepiece(folder, ["<unk>", "<s>", "</s>"], True, strips=True)
    more = ["<|assistant|>", "<|system|>"]
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    first = len(tokenizer.get_vocab())
    marks = {"single_word": False, "lstrip": False, "rstrip": True, "normalized": False, "special": True}
    content["added_tokens"] += [{"id": first + index, "content": word, **marks} for index, word in enumerate(more)]
    content["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]}  # fmt: skip
    write_json(folder / "tokenizer.json", content)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings(folder, PHI3, "<s>", "<|endoftext|>", "<|endoftext|>", "<unk>", add_bos_token=True,
             tokenizer_class="LlamaTokenizer")  # fmt: skip
    at = tokenizer.token_to_id
    ids = {"bos": 1, "eos": [at("<|endoftext|>"), at("<|assistant|>"), at("<|end|>")], "pad": at("<|endoftext|>")}
    return ids, unplain(tokenizer)


def unplain(tokenizer):
    """Ids whose text is not ASCII, that are special, or that swallow: a random model shall not answer with them."""
    added = set(tokenizer.get_added_tokens_decoder())
    out = []
    for word, index in tokenizer.get_vocab().items():
        plain = word.replace("Ġ", "").replace("Ċ", "").replace("▁", "")
        if index in added or word.startswith("<0x") or not (plain.isascii() and plain.isprintable()):
            out.append(index)
    return sorted(out)


def gguf_tokenizer(folder, metadata):
    """A GPT-2 like vocabulary in GGUF with SmolLM's way to cut, as tokenizer.json."""
    assert metadata["tokenizer.ggml.model"] == "gpt2" and metadata["tokenizer.ggml.pre"] == "smollm"
    words, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    marks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    write_json(folder / "tokenizer.json", {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": words[index], **marks} for index, kind in enumerate(kinds) if kind == 3],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [DIGITS, BYTES_REGEX]},
        "post_processor": None,
        "decoder": {**BYTES_REGEX, "add_prefix_space": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {word: index for index, word in enumerate(words)},
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    })  # fmt: skip
    name = lambda key: words[metadata[f"tokenizer.ggml.{key}_token_id"]]  # noqa: E731
    settings(folder, metadata["tokenizer.chat_template"], name("bos"), name("eos"), name("padding"), name("unknown"),
             add_prefix_space=False, tokenizer_class="GPT2Tokenizer",
             model_max_length=metadata["llama.context_length"])  # fmt: skip


def configs(folder, config, genai=None, position_ids=False):
    """config.json, generation_config.json and, for the genai style, genai_config.json; `genai` is its model type."""
    write_json(folder / "config.json", config)
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})
    if genai is None:
        return
    names = ["input_ids", "attention_mask"] + ["position_ids"] * position_ids
    write_json(folder / "genai_config.json", {
        "model": {
            "bos_token_id": config["bos_token_id"],
            "context_length": config["max_position_embeddings"],
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": "model.onnx",
                "head_size": config["head_dim"],
                "hidden_size": config["hidden_size"],
                "inputs": {
                    **{name: name for name in names},
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": config["num_attention_heads"],
                "num_hidden_layers": config["num_hidden_layers"],
                "num_key_value_heads": config["num_key_value_heads"],
            },
            "eos_token_id": config["eos_token_id"],
            "pad_token_id": config["pad_token_id"],
            "type": genai,
            "vocab_size": config["vocab_size"],
        },
        "search": {
            "diversity_penalty": 0.0, "do_sample": False, "early_stopping": True, "length_penalty": 1.0,
            "max_length": config["max_position_embeddings"], "min_length": 0, "no_repeat_ngram_size": 0, "num_beams": 1,
            "num_return_sequences": 1, "past_present_share_buffer": True, "repetition_penalty": 1.0, "temperature": 1.0,
            "top_k": 1, "top_p": 1.0,
        },
    })  # fmt: skip

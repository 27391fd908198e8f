# SPDX-License-Identifier: Apache-2.0
"""Weights of small Llama-like decoders: random from a seed, or a GGUF file's, and their packing into four bits.

Names and layouts are those of Hugging Face's checkpoints: `model.layers.N.self_attn.q_proj.weight` is [out, in], and number i of
a head turns with number i + half.
"""

import numpy as np

from read_gguf import read_header

BLOCK = 32
# Numbers and bytes of a block, by GGUF's number of the type: f32, f16, q4_1, q8_0.
STORED = {0: (1, 4), 1: (1, 2), 3: (32, 20), 8: (32, 34)}


def shapes(config):
    """{name: shape} of a Llama with this config.json."""
    hidden, wide, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    out = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        out[f"{at}.input_layernorm.weight"] = out[f"{at}.post_attention_layernorm.weight"] = (hidden,)
        out[f"{at}.self_attn.q_proj.weight"] = (q, hidden)
        out[f"{at}.self_attn.k_proj.weight"] = out[f"{at}.self_attn.v_proj.weight"] = (kv, hidden)
        out[f"{at}.self_attn.o_proj.weight"] = (hidden, q)
        out[f"{at}.mlp.gate_proj.weight"] = out[f"{at}.mlp.up_proj.weight"] = (wide, hidden)
        out[f"{at}.mlp.down_proj.weight"] = (hidden, wide)
    return out


def random_weights(config, seed, silent=()):
    """Weights that make a lively model. The logits of the tokens in `silent` are always 0: other tokens win."""
    random = np.random.default_rng(seed)
    out = {}
    for name, shape in sorted(shapes(config).items()):
        if name.endswith("norm.weight"):
            values = random.normal(1.0, 0.2, shape)
        elif "embed" in name:
            values = random.normal(0.0, 0.5, shape)
        else:
            values = random.normal(0.0, 1.4 / np.sqrt(shape[-1]), shape)
        out[name] = values.astype(np.float32)
    if silent:
        out["lm_head.weight"][list(silent)] = 0.0
    return out


# --- GGUF ---


def numbers_of(raw, kind):
    """The numbers of a tensor in one of the stored types, in a row."""
    if kind < 2:
        return np.frombuffer(raw, np.float16 if kind else np.float32).astype(np.float32)
    block = np.frombuffer(raw, np.uint8).reshape(-1, STORED[kind][1])
    scale = block[:, :2].copy().view(np.float16).astype(np.float32)
    if kind == 8:
        return (block[:, 2:].copy().view(np.int8) * scale).ravel()
    lowest = block[:, 2:4].copy().view(np.float16).astype(np.float32)
    quarters = np.concatenate([block[:, 4:] & 15, block[:, 4:] >> 4], 1)
    return (quarters * scale + lowest).ravel()


def halves(rows, heads):
    """Rows of a projection to queries or keys from llama.cpp's order (pairs side by side) to the order of halves."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


GGUF_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
GGUF_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def hf_name(name):
    stem = name.removesuffix(".weight")
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{GGUF_LAYER[part]}.weight"
    return f"{GGUF_NAMES[stem]}.weight"


def gguf_config(metadata):
    """config.json of a Llama in GGUF."""
    get = lambda key: metadata[f"llama.{key}"]  # noqa: E731
    heads = get("attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv"),
        "head_dim": get("embedding_length") // heads,
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": round(get("attention.layer_norm_rms_epsilon"), 9),
        "rope_theta": get("rope.freq_base"),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
    }


def gguf_weights(path):
    """(config, {name: float32 array}, metadata) of a Llama in GGUF."""
    metadata, found, reader = read_header(path)
    assert metadata["general.architecture"] == "llama", f"{path} is no Llama"
    config = gguf_config(metadata)
    start = (reader.at + 31) // 32 * 32
    weights = {}
    for name, (dims, kind, offset) in found.items():
        numbers, size = STORED[kind]
        count = int(np.prod(dims))
        raw = reader.data[start + offset : start + offset + count * size // numbers]
        values = numbers_of(raw, kind).reshape(dims[::-1])
        if ".attn_q." in name:
            values = halves(values, config["num_attention_heads"])
        elif ".attn_k." in name:
            values = halves(values, config["num_key_value_heads"])
        weights[hf_name(name)] = np.ascontiguousarray(values)
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    return config, weights, metadata


# --- four bits ---


def blocks_of(weight):
    rows, width = weight.shape
    count = -(-width // BLOCK)
    padded = np.zeros((rows, count * BLOCK), np.float32)
    padded[:, :width] = weight
    return padded.reshape(rows, count, BLOCK)


def quantize(weight, symmetric=True):
    """(packed [out, blocks, 16], scales [out, blocks], zero points [out, bytes] or None) as MatMulNBits takes an [out, in]
    matrix: number = (quarter - zero) * scale, the zero is 8 where none is stored."""
    block = blocks_of(weight)
    if symmetric:
        at = np.abs(block).argmax(-1)
        scale = np.take_along_axis(block, at[..., None], -1)[..., 0] / -8.0
        zero = np.full(scale.shape, 8, np.float32)
    else:
        low, high = np.minimum(block.min(-1), 0), np.maximum(block.max(-1), 0)
        scale = (high - low) / 15.0
        zero = np.clip(np.round(np.divide(-low, scale, out=np.zeros_like(low), where=scale != 0)), 0, 15)
    scale = scale.astype(np.float32)
    safe = np.where(scale == 0, 1, scale)
    quarters = np.clip(np.round(block / safe[..., None]) + zero[..., None], 0, 15).astype(np.uint8)
    packed = quarters[..., ::2] | quarters[..., 1::2] << 4
    return packed, scale, None if symmetric else pack_zeros(zero.astype(np.uint8))


def pack_zeros(zero):
    if zero.shape[1] % 2:
        zero = np.pad(zero, ((0, 0), (0, 1)))
    return zero[:, ::2] | zero[:, 1::2] << 4


def rounded(weight, symmetric=True):
    """The numbers that the packed matrix stands for."""
    packed, scale, zeros = quantize(weight, symmetric)
    quarters = np.stack([packed & 15, packed >> 4], -1).reshape(*scale.shape, BLOCK).astype(np.float32)
    zero = np.full(scale.shape, 8, np.float32)
    if zeros is not None:
        zero = np.stack([zeros & 15, zeros >> 4], -1).reshape(len(zeros), -1)[:, : scale.shape[1]].astype(np.float32)
    values = (quarters - zero[..., None]) * scale[..., None]
    return values.reshape(len(weight), -1)[:, : weight.shape[1]]

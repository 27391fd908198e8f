#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Model folders with a decoder as an ONNX graph, for tests and benchmarks; the same bytes each time.

Models (MODEL):
  tiny      two layers of random numbers, 4 query and 2 key heads of 16, 512 tokens; answers with ASCII nonsense
  phi3      the same with Phi-3-mini-4k-instruct's heads (32 of 96 each), tokens, window and configuration; two layers
  smollm2   SmolLM2-135M-Instruct, its weights taken from a GGUF file (--gguf)

Styles (STYLE):
  past      as Hugging Face's exporter writes it: plain operators. input_ids, attention_mask, position_ids and
            past_key_values.N.key/value [batch, key heads, past, head] in; logits and present.N.key/value out. The mask spans the
            past and the new tokens; rows may be padded on the left.
  genai     as onnxruntime-genai's builder writes it: GroupQueryAttention with rotation, no position_ids. Past and present may be
            one buffer; rows may be padded on the right. genai_config.json stands beside it.

A folder holds model.onnx (and model.onnx.data beyond 1 MiB of weights), config.json, generation_config.json, tokenizer.json and
tokenizer_config.json with the chat template.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import decoder_files as files  # noqa: E402
from decoder_graph_genai import GenaiGraph  # noqa: E402
from decoder_graph_past import PastGraph  # noqa: E402
from decoder_weights import gguf_weights, random_weights, rounded  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
GGUF = ROOT / "deps" / "models" / "smollm2-135m-instruct.gguf"
TINY = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": 512, "hidden_act": "silu",
    "tie_word_embeddings": False,
}  # fmt: skip
PHI3 = {
    **TINY, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 96, "intermediate_size": 256,
    "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 96, "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096, "sliding_window": 2047, "vocab_size": 704,
}  # fmt: skip
# Of the configuration, what a caller may change.
FREE = ("num_hidden_layers", "max_position_embeddings", "sliding_window", "eos_token_id")


def write(folder, style, config, weights, options):
    """The graph and the configuration; gives the graph."""
    graph = (PastGraph if style == "past" else GenaiGraph)(config, weights, **options)
    graph.write(folder)
    kind = None if style == "past" else "phi3" if config["model_type"] == "phi3" else "llama"
    files.configs(folder, config, kind, options.get("rotary_op", False))
    return graph


def as_packed(graph):
    """The numbers that the graph computes with, for a reference."""
    out = dict(graph.weights)
    if isinstance(graph, PastGraph):
        return out
    if graph.head_bits is not None and "lm_head.weight" not in out:
        out["lm_head.weight"] = out["model.embed_tokens.weight"]
    for name, array in out.items():
        bits = graph.head_bits if name == "lm_head.weight" else graph.bits if "_proj" in name else None
        if bits is not None:
            out[name] = rounded(array, graph.packing["symmetric"])
    return out


def options_of(style, weights, options):
    if weights not in ("fp32", "fp16", "int4"):
        raise ValueError(f"weights are fp32, fp16 or int4, not {weights}")
    if style not in ("past", "genai"):
        raise ValueError(f"styles are past and genai, not {style}")
    if weights == "int4":
        if style == "past":
            raise ValueError("weights of four bits are for the genai style")
        options = {"bits": 4, "head_bits": 4, **options}
    return {"dtype": "float16", **options} if weights == "fp16" else options


def make_tiny(folder, style, weights="fp32", shape="tiny", seed=20250117, **options):
    """A tiny model; gives (config, weights for a reference, Hugging Face's tokenizer).

    `shape` is "tiny" or "phi3". Options of both styles: num_hidden_layers, max_position_embeddings, sliding_window, eos_token_id.
    Of past: kv="float16"; position_ids=False; use_cache_branch=True (an If in each layer: where the input is false, the past is
    not looked at); ids="int32"; kept_logits=True (num_logits_to_keep); rows=1 (a fixed batch).
    Of genai: symmetric; accuracy (accuracy_level); head_bits=None (the last matrix in floats); packed (one matrix for q, k and
    v); rotary_op=True (RotaryEmbedding and position_ids instead of do_rotary).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: options.pop(name) for name in FREE if name in options}
    ids, unplain = (files.phi3_tokenizer if shape == "phi3" else files.tiny_tokenizer)(folder)
    tokenizer = files.Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = {**(PHI3 if shape == "phi3" else TINY), **{f"{name}_token_id": ids[name] for name in ids}, **own}
    known = tokenizer.get_vocab_size()
    assert known <= config["vocab_size"]
    silent = [*unplain, *range(known, config["vocab_size"])]
    options = options_of(style, weights, options)
    graph = write(folder, style, config, random_weights(config, seed, silent), options)
    return config, as_packed(graph), tokenizer


def make_smollm2(folder, style, weights="fp32", gguf=GGUF, **options):
    """SmolLM2-135M-Instruct from its GGUF, with options as those of make_tiny(); gives its config."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config, arrays, metadata = gguf_weights(gguf)
    config.update({name: options.pop(name) for name in FREE[1:] if name in options})
    files.gguf_tokenizer(folder, metadata)
    options = options_of(style, weights, options)
    write(folder, style, config, arrays, options)
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("tiny", "phi3", "smollm2"), metavar="MODEL")
    parser.add_argument("style", choices=("past", "genai"), metavar="STYLE")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--weights", choices=("fp32", "fp16", "int4"), default="fp32", help="int4 is for genai alone")
    parser.add_argument("--context", type=int, help="tokens of one sequence, in place of the model's own")
    parser.add_argument("--gguf", type=Path, default=GGUF, help="where SmolLM2's weights are")
    parser.add_argument("--layers", type=int, help="of a tiny model, 2")
    parser.add_argument("--seed", type=int, default=20250117, help="of a tiny model's numbers")
    past = parser.add_argument_group("style past")
    past.add_argument("--kv", choices=("float32", "float16"), help="numbers in the caches, those of the graph")
    past.add_argument("--no-position-ids", action="store_true", help="positions are counted from the mask in the graph")
    past.add_argument("--use-cache-branch", action="store_true", help="that input of merged exports, and an If by it")
    past.add_argument("--ids", choices=("int64", "int32"), default="int64", help="whole numbers of the inputs")
    past.add_argument("--kept-logits", action="store_true", help="an input num_logits_to_keep")
    past.add_argument("--one-row", action="store_true", help="a batch of one, fixed")
    genai = parser.add_argument_group("style genai")
    genai.add_argument("--asymmetric", action="store_true", help="int4 with zero points")
    genai.add_argument("--accuracy-level", type=int, help="of MatMulNBits; 4 computes in eight bits")
    genai.add_argument("--float-head", action="store_true", help="the last matrix in floats with int4 for the others")
    genai.add_argument("--separate", action="store_true", help="three matrices for queries, keys and values")
    genai.add_argument("--rotary-op", action="store_true", help="RotaryEmbedding and position_ids in place of do_rotary")
    given = parser.parse_args()
    options = {}
    if given.style == "past":
        options.update(kv=given.kv, position_ids=not given.no_position_ids, use_cache_branch=given.use_cache_branch,
                       ids=given.ids, kept_logits=given.kept_logits, **({"rows": 1} if given.one_row else {}))  # fmt: skip
    else:
        options.update(symmetric=not given.asymmetric, accuracy=given.accuracy_level, packed=not given.separate,
                       rotary_op=given.rotary_op, **({"head_bits": None} if given.float_head else {}))  # fmt: skip
    if given.context:
        options["max_position_embeddings"] = given.context
    if given.style == "past" and given.weights == "int4":
        parser.error("weights of four bits are for the genai style")
    if given.model == "smollm2":
        make_smollm2(given.folder, given.style, given.weights, given.gguf, **options)
        return
    if given.layers:
        options["num_hidden_layers"] = given.layers
    make_tiny(given.folder, given.style, given.weights, given.model, given.seed, **options)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What was measured where: the machine, and the results as Markdown."""

import os
import platform
import subprocess
from pathlib import Path

import instructions
import kernels


def machine():
    cpu, flags = "", set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            cpu = value.strip()
        if name.strip() == "flags":
            flags = set(value.split())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "features": [flag for flag in wanted if flag in flags],
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def commit(root):
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def number(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}"


def overhead_table(result):
    lines = ["| request | p50 µs | p90 µs | p99 µs | mean µs | first text p50 µs | the daemon adds, p50 µs |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, report in result.items():
        keys = ("p50", "p90", "p99", "mean", "first_p50", "added_p50")
        lines.append(f"| {name} | {' | '.join(number(report.get(key)) for key in keys)} |")
    return lines


def throughput_table(result):
    units = {
        "tokens_per_second": "tokens/s, all streams",
        "stream_tokens_per_second": "tokens/s, one stream, after its first token",
        "first_token_ms": "ms to the first token",
    }
    lines = ["| what | number | ours | llama-server | ours / theirs |", "|---|---|--:|--:|--:|"]
    for row in result["rows"]:
        what = row["what"].replace("decode_", "decode, streams: ")
        unit = "tokens/s" if row["what"] == "prefill" else units[row["number"]]
        lines.append(
            f"| {what} | {unit} | {number(row['ours'])} | {number(row.get('theirs'))} | {number(row.get('ratio'), 2)} |"
        )
    return lines


def cold_start_table(result):
    return [
        "| what | ours | llama-server | ours / theirs |",
        "|---|--:|--:|--:|",
        f"| spawn to first token, file in the page cache, s | {number(result['ours_s'], 2)} | "
        f"{number(result['theirs_s'], 2)} | {number(result['ratio'], 2)} |",
        f"| spawn to listening, ms | {number(result['listening_ms'])} | – | – |",
        f"| spawn to listening, no model loaded, ms | {number(result['listening_without_model_ms'])} | – | – |",
    ]


def memory_table(result):
    return [
        "| requests | requests/s | RSS first MiB | RSS last MiB | growth, second half, bytes/request |",
        "|--:|--:|--:|--:|--:|",
        f"| {result['requests']:,} | {number(result['requests_per_second'], 0)} | "
        f"{number(result['rss_kib_first'] / 1024)} | {number(result['rss_kib_last'] / 1024)} | "
        f"{number(result['slope_bytes_per_request'], 2)} |",
    ]


SWAP_NAMES = {
    "swap": "request for the other model, room for one: evict, load, answer",
    "after_eviction": "first request for a model that was unloaded, file in the page cache",
    "cold": "the same, file not in the page cache",
    "loaded": "the same request with the model in memory",
}


def swap_table(result):
    lines = ["| one token, whole answer | ours ms | llama-server router ms | ours / theirs |", "|---|--:|--:|--:|"]
    for row in result["rows"]:
        lines.append(
            f"| {SWAP_NAMES[row['what']]} | {number(row['ours_ms'])} | {number(row.get('theirs_ms'))} | "
            f"{number(row.get('ratio'), 2)} |"
        )
    return lines


def embeddings_table(result):
    peers = ("llama-server", "fastembed", "sentence-transformers")
    lines = [f"| texts | clients | ours, ONNX | ours, GGUF | {' | '.join(peers)} | our better / their best |"]
    lines.append("|---|" + "--:|" * (len(peers) + 4))
    for row in result["rows"]:
        rates = " | ".join(number(row.get(name)) for name in ("onnx", "gguf", *peers))
        lines.append(f"| {row['texts']} | {row['clients']} | {rates} | {number(row.get('ratio'), 2)} |")
    return lines


def embedding_start_table(result):
    lines = ["| server | spawn to first embedding, ms | resident, MiB |", "|---|--:|--:|"]
    for row in result["rows"]:
        lines.append(f"| {row['server']} | {number(row['first_ms'], 0)} | {number(row['resident_mib'], 0)} |")
    return lines


def generate_onnx_table(result):
    lines = ["| weights | work | ours, tokens/s | onnxruntime-genai, tokens/s | ratio |", "|---|---|--:|--:|--:|"]
    for row in result["rows"]:
        rates = " | ".join(number(row.get(name)) for name in ("ours", "genai"))
        lines.append(f"| {row['weights']} | {row['work']} | {rates} | {number(row.get('ratio'), 2)} |")
    return lines


def tokenizer_table(result):
    lines = ["| tokenizer | text | offsets | ours MB/s | tokenizers MB/s | ours / theirs | opening, ours / theirs ms |"]
    lines.append("|---|---|---|--:|--:|--:|--:|")
    for row in result["rows"]:
        lines.append(
            f"| {row['tokenizer']} | {row['text']} | {'yes' if row['offsets'] else 'no'} | {number(row['ours_mb_s'])} | "
            f"{number(row['theirs_mb_s'])} | {number(row['ratio'], 2)} | "
            f"{number(row['ours_open_ms'], 0)} / {number(row['theirs_open_ms'], 0)} |"
        )
    return lines


def cached_table(result):
    lines = [
        f"A chat answer of {result['answer_bytes']} bytes from the cache, against nginx's `return 200` of as many; load: {result['load']}, "
        f"16 connections. Medians of {result['rounds']} rounds; the servers took turns.",
        "",
        "| a line of log for each request | ours, answers/s | nginx, answers/s | ours / nginx |",
        "|---|--:|--:|--:|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {'yes' if row['logs'] else 'no'} | {number(row['ours'], 0)} | {number(row['nginx'], 0)} | {number(row['ratio'], 2)} |"
        )
    return lines


def proxied_table(result):
    lines = [
        "Through the gateway to a provider that answers at once with 16 words, whole or as 16 events. Added: the median less the",
        f"median straight to the provider. Medians of {result['rounds']} rounds; the servers took turns.",
        "",
        "| answer | clients | straight, requests/s | ours | LiteLLM | ours / LiteLLM | ours adds, p50 µs | LiteLLM adds, p50 µs | ours / LiteLLM |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["rows"]:
        rates = [number(row.get(f"{name}_per_second"), 0) for name in ("straight", "roundhouse", "litellm")]
        rates.append(number(row.get("ratio_per_second")))
        added = [number(row.get(f"{name}_added_p50"), 0) for name in ("roundhouse", "litellm")]
        added.append(number(row.get("ratio_added"), 3))
        lines.append(
            f"| {'streamed' if row['stream'] else 'whole'} | {row['connections']} | {' | '.join(rates)} | {' | '.join(added)} |"
        )
    return lines


def route_table(result):
    lines = [
        "Features and decision, 100 rules of which the last condition decides, 20 members; µs.",
        "",
        "| strategy | bytes of prompt | p50 | p99 | features alone, p50 |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in result:
        lines.append(
            f"| {row['strategy']} | {row['prompt_bytes']:,} | {number(row['both_us']['p50'])} | {number(row['both_us']['p99'])} | "
            f"{number(row['features_us']['p50'])} |"
        )
    return lines


def gateway_table(result):
    """Several tables, one for each part that was measured."""
    many = result["memory"]
    rss = ", ".join(f"{kib / 1024:.1f}" for _, kib in many["samples"])
    lines = ["#### Cached answers", "", *cached_table(result["cached"])]
    lines += ["", "#### Proxied requests", "", *proxied_table(result["proxied"])]
    if result["route"] is not None:
        lines += ["", "#### Routing decisions", "", *route_table(result["route"])]
    lines += ["", "#### Memory over many different requests", "", *memory_table(many), ""]
    lines += [f"MiB at the start and after each tenth of the requests: {rss}.", "", "#### Being there", ""]
    lines.append(
        f"10 providers, 100 rules, 20 keys, one experiment: listening after {number(result['idle']['listening_ms'])} ms, "
        f"{number(result['idle']['resident_mib'])} MiB resident when idle."
    )
    return lines


TITLES = {
    "overhead": ("What the daemon adds", overhead_table, "One connection, kept alive; the fake engine, one word. Medians of the rounds; the worker alone and\nthe daemon took turns."),
    "throughput": ("Speed against llama-server", throughput_table, "Medians; the servers took turns in one run."),
    "cold_start": ("Cold start", cold_start_table, "Medians; the servers took turns."),
    "swap": ("Changing models", swap_table, "Two files of one model (Q4_1 and Q8_0), four slots of 2,048 tokens. Medians; the servers took turns."),
    "generate_onnx": ("Generated tokens a second on ONNX", generate_onnx_table, "SmolLM2-135M with GroupQueryAttention; ours through HTTP, onnxruntime-genai in its own process without a server.\nMedians; all took turns. decode_4 is four streams (genai: a batch of four)."),
    "embeddings": ("Embeddings a second", embeddings_table, "all-MiniLM-L6-v2 in 32-bit floats, one text a request; the two packages are no servers: they get batches of as\nmany texts as there are clients. Medians; all took turns."),
    "embedding_start": ("Embeddings: start and memory", embedding_start_table, "all-MiniLM-L6-v2 in 32-bit floats; all processes of a server together, after 64 texts one by one. Medians; all took turns."),
    "tokenizer": ("Tokenizers against Hugging Face's package", tokenizer_table, "One thread each, the same tokenizer.json, taking turns; the best round of a turn, the median of the turns."),
    "gateway": ("The gateway", gateway_table, "The server on one core, load and provider on the other."),
    "kernels": ("Matrix kernels in whole models", kernels.table, "The same file and threads; prompts of token numbers, distinct, no prompt cache. Medians; all took turns, and a ratio\nis the median of the ratios of neighbours in time."),
    "instructions": ("Instructions of the matrix kernels", instructions.table, "For one product of a weight and an activation, counted by valgrind's callgrind on one thread."),
    "memory": ("Memory over many requests", memory_table, "Eight connections, the fake engine, one word."),
}


def markdown(results):
    box = results["machine"]
    lines = [
        f"## {results['date']}, {results['commit']}",
        "",
        f"`{results['command']}`",
        "",
        f"Machine: {box['cpu']}, {box['cores']} cores ({', '.join(box['features'])}), {box['memory_gib']} GiB, "
        f"{box['system']}. Model: {results['model']}. Threads: {results['threads']}."
        + (" Short run (--quick): for a smoke test, not for conclusions." if results["quick"] else ""),
    ]
    for key, (title, table, note) in TITLES.items():
        if key in results:
            lines += ["", f"### {title}", "", note, "", *table(results[key])]
    return "\n".join(lines) + "\n"

# SPDX-License-Identifier: Apache-2.0
"""How many instructions the kernels take, counted by valgrind's callgrind: a number that no neighbour on the machine changes.

Each figure is what two more runs of one product add, so that start and packing do not count."""

import re
import subprocess

FORMATS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k", "f16", "bf16", "f32")
SHAPE = (512, 1024)
TOKENS = (1, 16)
COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")


def collected(program, side, kind, tokens, runs):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "--threads", "1"]
    command += ["--side", side, "--runs", runs, "--format", kind, "--shape", "x".join(map(str, SHAPE)), "--tokens", tokens]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    found = COLLECTED.search(done.stderr)
    if done.returncode != 0 or not found:
        raise SystemExit(f"valgrind: {done.stderr[-2000:]}")
    return int(found[1])


def per_product(program, side, kind, tokens):
    added = collected(program, side, kind, tokens, 3) - collected(program, side, kind, tokens, 1)
    return added / 2 / (SHAPE[0] * SHAPE[1] * tokens)


def instructions(setup):
    program = setup.build / "bench" / "kernels"
    subprocess.run(["cmake", "--build", setup.build, "--target", "bench_kernels"], check=True, stdout=subprocess.DEVNULL)
    rows = []
    for kind in FORMATS[:2] if setup.quick else FORMATS:
        for tokens in TOKENS:
            ours, theirs = (per_product(program, side, kind, tokens) for side in ("ours", "upstream"))
            rows.append({"format": kind, "tokens": tokens, "ours": ours, "upstream": theirs})
            setup.say(f"  {kind}, {tokens} tokens: {ours:.4f} and {theirs:.4f} instructions a product")
    return {"rows": rows}


def table(result):
    lines = ["| format | tokens | ours | llama.cpp | ratio |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        ratio = row["upstream"] / row["ours"]
        lines.append(f"| {row['format']} | {row['tokens']} | {row['ours']:.4f} | {row['upstream']:.4f} | {ratio:.2f} |")
    return lines

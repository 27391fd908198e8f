#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure the daemon: what it adds to a request, its speed against llama-server, its start, its memory, its
changing of models.

    bench/run.py [--llama-server PATH] [--model FILE] [--quick] [--only overhead,throughput,cold_start,memory,swap,...]

Writes build/bench/results.json and build/bench/results.md (a section for docs/benchmarks.md). See README.md.
"""

import argparse
import datetime
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import embeddings
import gateway
import generate_onnx
import instructions
import kernels
import report
import sections
import swap
import tokenizer
from load import build_client

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = {
    "overhead": sections.overhead,
    "memory": sections.memory,
    "cold_start": sections.cold_start,
    "throughput": sections.throughput,
    "swap": swap.swap,
    "embeddings": embeddings.embeddings,
    "embedding_start": embeddings.embedding_start,
    "tokenizer": tokenizer.tokenizer,
    "generate_onnx": generate_onnx.generate_onnx,
    "gateway": gateway.gateway,
    "kernels": kernels.kernels,
    "instructions": instructions.instructions,
}
# Only when asked for by name: the one takes an hour and makes files of ten gigabytes, the other wants valgrind.
LONG = ("kernels", "instructions")


class Setup:
    """What every section needs to know."""

    def __init__(self, arguments):
        self.quick = arguments.quick
        self.model = arguments.model.resolve()
        self.roundhouse = (arguments.build / "roundhouse").resolve()
        # Absolute: servers run in folders of their own.
        self.llama_server = arguments.llama_server and os.path.abspath(arguments.llama_server)
        self.threads = arguments.threads
        self.kernel_models = arguments.kernel_models
        self.kernel_formats = arguments.kernel_formats
        self.kernel_sides = arguments.kernel_sides
        self.kernel_minutes = arguments.kernel_minutes
        if not self.roundhouse.exists():
            sys.exit(f"{self.roundhouse} is missing: build first")
        if not self.model.exists():
            sys.exit(f"{self.model} is missing: run 'make deps', or name another with --model")
        self.build = arguments.build.resolve()
        self.worker = self.roundhouse.with_name("roundhouse-worker")
        self.client = build_client(self.build)

    @staticmethod
    def say(line):
        print(line, file=sys.stderr, flush=True)


def words_of(known):
    """For argparse: words of a list, separated by commas."""

    def parse_words(text):
        words = text.split(",")
        unknown = set(words) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return words

    return parse_words


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the build folder")
    parser.add_argument("--model", type=Path, default=ROOT / "deps/models/smollm2-135m-instruct.gguf")
    parser.add_argument("--llama-server", default=os.environ.get("LLAMA_SERVER") or shutil.which("llama-server"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both servers")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of fifteen")
    usual = ",".join(name for name in SECTIONS if name not in LONG)
    parser.add_argument("--only", default=usual, help="sections, separated by commas")
    parser.add_argument("--kernel-models", type=words_of(kernels.MODELS), help=f"of {', '.join(kernels.MODELS)}")
    parser.add_argument("--kernel-formats", type=words_of(kernels.FORMATS), help=f"of {', '.join(kernels.FORMATS)}")
    parser.add_argument("--kernel-sides", type=words_of(kernels.SIDES), help=f"of {', '.join(kernels.SIDES)}")
    parser.add_argument("--kernel-minutes", type=float, default=90, help="no further model is begun after these")
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    return arguments


def main():
    arguments = parse()
    setup = Setup(arguments)
    if setup.llama_server is None:
        setup.say("no llama-server (--llama-server PATH): measuring ours alone")
    results = {
        "date": datetime.date.today().isoformat(),
        "commit": report.commit(ROOT),
        "command": "bench/run.py" + (" --quick" if arguments.quick else ""),
        "arguments": shlex.join(sys.argv[1:]),
        "machine": report.machine(),
        "model": setup.model.name,
        "threads": setup.threads,
        "quick": setup.quick,
    }
    out = arguments.build / "bench"
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only.split(","):
        began = time.monotonic()
        setup.say(f"{name} ...")
        results[name] = SECTIONS[name](setup)
        setup.say(f"{name}: {time.monotonic() - began:.0f} s")
        # After each section, so that a failure in the last one does not lose the others.
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / "results.md").write_text(report.markdown(results))
    print(report.markdown(results))
    print(f"written: {out / 'results.json'}, {out / 'results.md'}", file=sys.stderr)


if __name__ == "__main__":
    main()

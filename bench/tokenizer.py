# SPDX-License-Identifier: Apache-2.0
"""Our tokenizers against Hugging Face's `tokenizers` on one thread: the same files, the same texts, taking turns."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / "deps/venv/bin/python"
NAMES = ("minilm", "gpt-2", "llama-3", "qwen2", "phi-3", "xlm-roberta")
THREADS = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

# In the tests' environment: it has the package, and numpy for reading vocabularies.
MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from make_tokenizers import make_tokenizer
make_tokenizer(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
"""
THEIRS = """
import json, sys, time
from tokenizers import Tokenizer
path, text, rounds, offsets = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1"
began = time.perf_counter()
tokenizer = Tokenizer.from_file(path)
opened = time.perf_counter() - began
tokenizer.no_truncation()
tokenizer.no_padding()
lines = open(text, encoding="utf-8", newline="\\n").read().split("\\n")[:-1]
# One call for all lines, so that Python itself costs next to nothing.
encode = tokenizer.encode_batch if offsets else tokenizer.encode_batch_fast
seconds = []
for _ in range(rounds):
    began = time.perf_counter()
    encodings = encode(lines)
    seconds.append(time.perf_counter() - began)
    tokens = sum(len(encoding) for encoding in encodings)
    del encodings
print(json.dumps({"open_ms": opened * 1e3, "seconds": seconds, "tokens": tokens}))
"""


def write_texts(folder, quick):
    """Prose of one language after another in lines of two sizes, and a code file. A line is a text."""
    sys.path.insert(0, str(ROOT / "tests/tools"))
    import random

    from many_scripts import PHRASES

    size = 200_000 if quick else 1_000_000
    luck = random.Random(11)
    latin = [phrase for phrase in PHRASES[:12] if all(ord(char) < 0x250 for char in phrase)]
    words = sorted({word for phrase in PHRASES for word in phrase.split()})
    kinds = {
        "english, short": (lambda: words_of(luck, PHRASES[:2] + latin, 14)),
        "english, long": (lambda: words_of(luck, PHRASES[:2] + latin, 2000)),
        "many scripts": (lambda: " ".join(luck.choice(words) for _ in range(luck.randrange(5, 60)))),
    }
    files = {}
    for kind, make in kinds.items():
        lines, total = [], 0
        while total < size:
            lines.append(make().replace("\n", " ").replace("\r", " "))
            total += len(lines[-1].encode()) + 1
        files[kind] = folder / (kind.replace(", ", "-").replace(" ", "-") + ".txt")
        files[kind].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def words_of(luck, phrases, most):
    """Words with a few letters changed, so that texts do not only repeat themselves."""
    words = []
    for _ in range(luck.randrange(most // 2, most)):
        word = luck.choice(luck.choice(phrases).split())
        if luck.random() < 0.3:
            word = word + luck.choice(("s", "ed", "ing", "er", "ly", "ness")) + str(luck.randrange(100)) * (luck.random() < 0.1)
        words.append(word)
    return " ".join(words)


def run_once(command, environment=None):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {done.stderr}")
    return json.loads(done.stdout)


def compare(program, tokenizer, text, rounds, turns, offsets):
    """Both in turn; the best round of each turn, then the median over the turns and of the ratios of neighbours."""
    size = text.stat().st_size
    ours, theirs = [], []
    flag = "1" if offsets else "0"
    for _ in range(turns):
        ours.append(run_once([program, tokenizer, text, rounds, flag]))
        theirs.append(run_once([PYTHON, "-c", THEIRS, tokenizer, text, rounds, flag], THREADS))
    if ours[0]["tokens"] != theirs[0]["tokens"]:
        raise SystemExit(f"{tokenizer}: {ours[0]['tokens']} tokens, the package gives {theirs[0]['tokens']}")

    def speed(results):
        return statistics.median(size / min(result["seconds"]) / 1e6 for result in results)

    ratios = [min(b["seconds"]) / min(a["seconds"]) for a, b in zip(ours, theirs)]
    return {
        "bytes": size,
        "tokens": ours[0]["tokens"],
        "ours_mb_s": speed(ours),
        "theirs_mb_s": speed(theirs),
        "ratio": statistics.median(ratios),
        "ours_open_ms": statistics.median(result["open_ms"] for result in ours),
        "theirs_open_ms": statistics.median(result["open_ms"] for result in theirs),
    }


def build_speed(build):
    """CMake's target; it links the library, unlike the clients."""
    subprocess.run(["cmake", "--build", str(build), "--target", "bench_tokenizer_speed"], check=True, stdout=sys.stderr)
    return build / "bench/tokenizer_speed"


def prepare(folder):
    paths = {}
    for name in NAMES:
        if name == "minilm":
            paths[name] = ROOT / "deps/models/all-minilm-l6-v2/tokenizer.json"
            continue
        paths[name] = folder / f"{name}.json"
        if not paths[name].exists():
            command = [PYTHON, "-c", MAKE, ROOT / "tests/tools", ROOT / "deps/llama.cpp/models", name, paths[name]]
            subprocess.run([str(word) for word in command], check=True)
    return paths


def tokenizer(setup):
    folder = setup.build / "bench" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    program = build_speed(setup.build)
    texts = write_texts(folder, setup.quick)
    rounds, turns = (3, 1) if setup.quick else (5, 3)
    rows = []
    for name, path in prepare(folder).items():
        for kind, text in texts.items():
            for offsets in (False, True):
                row = compare(program, path, text, rounds, turns, offsets)
                rows.append({"tokenizer": name, "text": kind, "offsets": offsets, **row})
                setup.say(f"  {name}, {kind}, offsets {offsets}: {row['ours_mb_s']:.1f} MB/s, {row['ratio']:.1f} x")
    version = run_once([PYTHON, "-c", "import json, tokenizers; print(json.dumps(tokenizers.__version__))"])
    return {"version": version, "rows": rows}

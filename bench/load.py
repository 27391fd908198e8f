# SPDX-License-Identifier: Apache-2.0
"""Driving bench_http_latency (the C client) and making requests that share no prefix."""

import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

WORDS = """time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend father
power hour game line end member law car city community name president team minute idea kid body information back parent
face others level office door health person art war history party result change morning reason research girl guy moment
air teacher force education""".split()


def text(words, seed):
    """`words` common words, different from the first on for each seed."""
    chance = random.Random(seed)
    return f"{seed} " + " ".join(chance.choice(WORDS) for _ in range(words))


class Client:
    def __init__(self, program):
        self.program = program

    def run(self, server, path, bodies, requests, connections=1, warmup=0, detail=False, sample_every=0):
        """Send `requests` requests (body i modulo their number) over `connections`; the client's report."""
        with tempfile.TemporaryDirectory(prefix="rh-bench-") as folder:
            command = [self.program, "--port", server.port, "--path", path, "--connections", connections]
            command += ["--requests", requests, "--warmup", warmup]
            for index, body in enumerate(bodies):
                name = Path(folder) / f"body{index}.json"
                name.write_text(json.dumps(body))
                command += ["--body", name]
            if detail:
                command.append("--detail")
            if sample_every:
                command += ["--pid", server.process.pid, "--sample-every", sample_every]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{server.name} {path}: {done.stderr or done.stdout[:2000]}")
        return json.loads(done.stdout)


def build_program(build, name):
    """A C program of this folder: the one that CMake built, or one made now."""
    built = build / "bench" / f"bench_{name}"
    source = Path(__file__).with_name(f"{name}.c")
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc") or "gcc"
        subprocess.run([compiler, "-std=c17", "-D_GNU_SOURCE", "-O2", source, "-o", built], check=True)
    return built


def build_client(build):
    return Client(build_program(build, "http_latency"))


def worker_alone(build, worker, requests, warmup):
    """Percentiles (microseconds) of the same run sent straight into a worker's socket."""
    command = [build_program(build, "worker_latency"), worker, requests, warmup]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"worker_latency: {done.stderr}")
    return json.loads(done.stdout)

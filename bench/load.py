# SPDX-License-Identifier: Apache-2.0
"""Driving bench_http_latency (the C client) and making requests that share no prefix."""

import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from servers import pinned

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
    def __init__(self, program, core=None):
        self.program = program
        self.core = core

    def run(
        self, server, path, bodies, requests, connections=1, warmup=0, detail=False, sample_every=0, headers=(), number=None
    ):
        """Send `requests` requests (body i modulo their number) over `connections`; the client's report. With `number`, runs
        of '#' in bodies and headers become the last digits of number + i."""
        with tempfile.TemporaryDirectory(prefix="rh-bench-") as folder:
            command = pinned(self.core, [self.program]) + ["--port", server.port, "--path", path]
            command += ["--connections", connections, "--requests", requests, "--warmup", warmup]
            for line in headers:
                command += ["--header", line]
            if number is not None:
                command += ["--number", number]
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


def build_program(build, name, *libraries):
    """A C program of this folder: the one that CMake built, or one made now."""
    built = build / "bench" / f"bench_{name}"
    source = Path(__file__).with_name(f"{name}.c")
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc") or "gcc"
        subprocess.run([compiler, "-std=c17", "-D_GNU_SOURCE", "-O2", source, "-o", built, *libraries], check=True)
    return built


WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
done = function(summary, latency)
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout
  io.write(string.format('{"requests":%%d,"seconds":%%.6f,"errors":%%d,"p50_us":%%.1f,"p99_us":%%.1f}\\n', summary.requests,
    summary.duration / 1e6, errors, latency:percentile(50), latency:percentile(99)))
end
"""


def wrk(program, server, path, body, seconds, connections, core):
    """One thread of wrk that POSTs `body`; its counts."""
    with tempfile.TemporaryDirectory(prefix="rh-bench-") as folder:
        script = Path(folder) / "post.lua"
        script.write_text(WRK_SCRIPT % f"[==[{json.dumps(body)}]==]")
        command = pinned(core, [program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script])
        command.append(f"http://127.0.0.1:{server.port}{path}")
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    line = next((line for line in done.stdout.split("\n") if line.startswith('{"requests"')), None)
    if done.returncode != 0 or line is None:
        raise SystemExit(f"wrk: {done.stderr or done.stdout}")
    report = json.loads(line)
    if report["errors"] > 0 or report["requests"] == 0:
        raise SystemExit(f"{server.name} {path}: {done.stdout}")
    return report


def build_client(build):
    return Client(build_program(build, "http_latency"))


def worker_alone(build, worker, requests, warmup):
    """Percentiles (microseconds) of the same run sent straight into a worker's socket."""
    command = [build_program(build, "worker_latency"), worker, requests, warmup]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"worker_latency: {done.stderr}")
    return json.loads(done.stdout)

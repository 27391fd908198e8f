# SPDX-License-Identifier: Apache-2.0
"""A daemon under test: started on a free port, watched, stopped, and judged afterwards.

A test fails when its daemon died, when a sanitizer wrote a report, when a process was left behind, or when the log
holds a line of level error that the test did not announce with expect_errors().
"""

import glob
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from harness import http, procs
from harness.metrics import Metrics
from harness.wait import poll, scaled

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RH_BUILD_DIR") or ROOT / "build").absolute()
ROUNDHOUSE = BUILD / "roundhouse"
WORKER = BUILD / "roundhouse-worker"

SANITIZER_EXIT = 99


def clean_environment(folder, **extra):
    """An environment in which nothing of the user's own configuration or data can be seen."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ROUNDHOUSE_", "XDG_"))}
    environment["HOME"] = str(folder)
    environment["TZ"] = "UTC"
    environment["TERM"] = "dumb"
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        environment.pop(name, None)
    log = Path(folder) / "sanitizer"
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
        given = os.environ.get(name)
        own = f"log_path={log}.{name[:4].lower()}:exitcode={SANITIZER_EXIT}"
        if name == "UBSAN_OPTIONS":
            own += ":print_stacktrace=1"
        if name == "TSAN_OPTIONS":
            # A worker leaves by _exit() while its engine thread may be in a step; that it is not joined is meant.
            own += ":report_thread_leaks=0:atexit_sleep_ms=50"
        environment[name] = f"{given}:{own}" if given else own
    environment.update(extra)
    return environment


def sanitizer_reports(folder):
    return [
        f"{name}:\n{Path(name).read_text(errors='replace')}" for name in sorted(glob.glob(f"{folder}/sanitizer.*"))
    ]


def flag(key, value):
    """A setting as a command line takes it: queue_max=1 -> ["--queue-max", "1"]."""
    name = key.replace("_", "-")
    if value is True:
        return [f"--{name}"]
    if value is False:
        return [f"--no-{name}"]
    return [f"--{name}", str(value)]


class Daemon:
    def __init__(self, folder, models=None, environment=None, config=None, wait=True, **settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / "daemon.log"
        self.expected_errors = []
        self.stopped = None
        self.bad_end_expected = False
        self.address = None
        self.key = None  # for /metrics, where the configuration has keys: the secret of one with the scope
        self.command = [str(ROUNDHOUSE), "serve"]
        if config is not None:
            config_path = self.folder / "roundhouse.json"
            config_path.write_text(json.dumps(config))
            self.command += ["--config", str(config_path)]
        settings.setdefault("listen", "127.0.0.1:0")
        settings.setdefault("log_format", "json")
        # Most tests ask the same thing again to see the engine do it again. Those of the cache switch it on.
        if not (config or {}).get("cache"):
            settings.setdefault("cache", "off")
        for key, value in settings.items():
            self.command += flag(key, value)
        for name, path in (models or {}).items():
            self.command += ["--model", f"{name}={path}"]
        self.environment = clean_environment(self.folder, **(environment or {}))
        assert ROUNDHOUSE.exists(), f"{ROUNDHOUSE} is missing: build first (or set RH_BUILD_DIR)"
        with open(self.log_path, "wb") as log, open(self.folder / "stdout.txt", "wb") as out:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )
        self.pid = self.process.pid
        if wait:
            self.wait_listening()

    # --- start and log ---

    def wait_listening(self):
        def listening():
            lines = self.log(message="listening")
            if lines:
                return lines[0]["address"]
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log_text()}"
            return None

        host, port = poll(listening, 10, "the log line 'listening'").removeprefix("http://").rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))

    @property
    def url(self):
        return f"http://{self.address[0]}:{self.address[1]}"

    def log_text(self):
        return self.log_path.read_text(errors="replace")

    def log(self, **fields):
        """The log's JSON lines with these fields."""
        found = []
        for line in self.log_text().split("\n")[:-1]:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and all(entry.get(key) == value for key, value in fields.items()):
                found.append(entry)
        return found

    def expect_errors(self, *patterns):
        """Announce log lines of level error: each pattern is searched for in the line's JSON."""
        self.expected_errors += patterns

    # --- what the operating system says ---

    def rss(self):
        return procs.rss_bytes(self.pid)

    def fds(self):
        return procs.fd_count(self.pid)

    def running(self):
        return self.process.poll() is None

    # --- what the daemon says ---

    def fetch(self, method, path, body=None, headers=None, timeout=30):
        return http.fetch(self.address, method, path, body, headers, timeout)

    def get(self, path, **options):
        return self.fetch("GET", path, **options)

    def post(self, path, body, **options):
        return self.fetch("POST", path, body, **options)

    def connect(self, **options):
        return http.Connection(self.address, **options)

    def stream(self, path, body, method="POST", **options):
        return http.Stream(self.address, method, path, body, **options)

    def chat(self, text, model=None, headers=None, wait=30, **fields):
        """POST /v1/chat/completions with one user message; the whole answer. `wait` is the socket's time-out."""
        return self.post("/v1/chat/completions", chat_body(text, model, **fields), headers=headers, timeout=wait)

    def chat_stream(self, text, model=None, **fields):
        return self.stream("/v1/chat/completions", chat_body(text, model, stream=True, **fields))

    def health(self):
        # Where keys are needed, strangers are not told which models there are.
        answer = self.get("/health", headers={"Authorization": f"Bearer {self.key}"} if self.key else None)
        assert answer.status in (200, 503), answer
        return answer.json()

    def metrics(self):
        answer = self.get("/metrics", headers={"Authorization": f"Bearer {self.key}"} if self.key else None)
        assert answer.status == 200, answer
        return Metrics(answer.body.decode())

    def metric(self, name, **labels):
        return self.metrics().sum(name, **labels)

    def worker_pids(self):
        """Process ids of the workers, as GET /health gives them."""
        found = []

        def walk(value, key=None):
            if isinstance(value, dict):
                for name, inner in value.items():
                    walk(inner, name)
            elif isinstance(value, list):
                for inner in value:
                    walk(inner)
            elif key in ("pid", "worker_pid") and isinstance(value, int) and value not in (0, self.pid):
                found.append(value)

        walk(self.health())
        return found

    def worker_pid(self):
        return poll(lambda: (self.worker_pids() or [None])[0], 10, "a worker's pid in /health")

    def wait_metric(self, name, condition, seconds=10, **labels):
        """Poll until condition(value of the metric); gives the value."""
        seen = []

        def met():
            seen.append(self.metric(name, **labels))
            return condition(seen[-1])

        try:
            poll(met, seconds, f"metric {name}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the metric is {seen[-1]}") from None
        return seen[-1]

    def _sum_of_models(self, key):
        return sum(model[key] for model in self.health()["models"])

    def wait_active(self, count=1, seconds=10):
        """Poll until exactly `count` runs hold a slot."""
        poll(lambda: self._sum_of_models("active") == count, seconds, f"{count} active runs")

    def wait_queued(self, count, seconds=10):
        """Poll until exactly `count` runs wait for a slot."""
        poll(lambda: self._sum_of_models("queued") == count, seconds, f"{count} queued runs")

    def wait_idle(self, seconds=10):
        """No request in flight, no run active, and the engine agrees: every exchange was let go, every slot is free."""

        def idle():
            health = self.health()
            busy = sum(model["active"] + model["queued"] for model in health["models"])
            return health["requests_in_flight"] == 0 and busy == 0 and self.metric("roundhouse_runs_active") == 0

        poll(idle, seconds, "an idle daemon")

    # --- end ---

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout=15):
        """Send a signal, wait, give the exit code."""
        if self.process.poll() is None:
            self.watched = procs.descendants(self.pid)
            self.process.send_signal(number)
        return self.wait_exit(timeout)

    def wait_exit(self, timeout=15):
        self.stopped = self.process.wait(scaled(timeout))
        return self.stopped

    def judge(self):
        """Stop if need be; a list of what went wrong."""
        problems = []
        watched = procs.descendants(self.pid) if self.process.poll() is None else []
        if self.process.poll() is not None and self.stopped is None and not self.bad_end_expected:
            problems.append(f"the daemon died during the test with {self.process.returncode}")
        elif self.stopped is None:
            try:
                code = self.stop()
                if code != 0 and not self.bad_end_expected:
                    problems.append(f"the daemon's exit code is {code} after SIGTERM")
            except subprocess.TimeoutExpired:
                problems.append("the daemon did not end within 15 s of SIGTERM")
                self.process.kill()
                self.process.wait()
        watched += getattr(self, "watched", [])
        problems += self._left_over(watched)
        problems += self._unannounced_errors()
        problems += [f"sanitizer report {report}" for report in sanitizer_reports(self.folder)]
        return problems

    def _left_over(self, watched):
        def left():
            return sorted({pid for pid in watched if procs.alive(pid)} | set(procs.in_session(self.pid)))

        try:
            poll(lambda: not left(), 5, "the workers' end")
            return []
        except AssertionError:
            rest = [f"{pid} ({procs.command_line(pid)})" for pid in left()]
            for pid in left():
                os.kill(pid, signal.SIGKILL)
            return [f"processes left behind: {', '.join(rest)}"]

    def _unannounced_errors(self):
        problems = []
        for entry in self.log(level="error"):
            line = json.dumps(entry)
            if not any(re.search(pattern, line) for pattern in self.expected_errors):
                problems.append(f"unannounced error in the log: {line}")
        return problems


def chat_body(text, model=None, **fields):
    body = {"messages": [{"role": "user", "content": text}]}
    if model is not None:
        body["model"] = model
    body.update(fields)
    return body


class Factory:
    """daemon(models={...}, **settings) starts one more; judge() ends and judges all of them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.daemons = []

    def __call__(self, models=None, **settings):
        if models is None:
            models = {"fake": "fake:slots=4"}
        folder = self.folder / f"daemon{len(self.daemons)}"
        daemon = Daemon(folder, models, wait=False, **{key: value for key, value in settings.items() if key != "wait"})
        self.daemons.append(daemon)
        if settings.get("wait", True):
            daemon.wait_listening()
        return daemon

    def judge(self):
        problems = []
        for daemon in self.daemons:
            for problem in daemon.judge():
                problems.append(f"{problem}\n  log: {daemon.log_path}")
            print(f"--- log of {' '.join(daemon.command)}\n" + "\n".join(daemon.log_text().splitlines()[-60:]))
        return problems

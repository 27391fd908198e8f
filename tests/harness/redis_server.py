# SPDX-License-Identifier: Apache-2.0
"""A real redis-server on loopback, which keeps nothing on disk.

    with RedisServer(tmp_path) as redis:
        daemon(config={"redis": {"url": redis.url}})
        redis.kill(); redis.start()          # crash, and back on the same port, empty
        redis.pause(); redis.resume()        # stalled: the port accepts, nobody answers
        redis.command("GET", "name")         # bytes, int, list, None; RedisError for an error
"""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from harness.procs import stat_fields
from harness.wait import poll, scaled


class RedisError(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_reply(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("redis closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise RedisError(rest.decode(errors="replace"))
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [read_reply(stream) for _ in range(int(rest))]
    raise RedisError(f"not a reply of redis: {line!r}")


class RedisServer:
    def __init__(self, folder, password=None, port=None):
        self.folder = Path(folder)
        self.password = password
        self.port = port or free_port()
        self.socket_path = self.folder / f"redis-{self.port}.sock"
        self.process = None
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def url(self):
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}"

    @property
    def unix_url(self):
        """Only for a server without a password. The folder's path has to be short (107 bytes with the name)."""
        return f"unix://{self.socket_path}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return (self.folder / f"redis-{self.port}.log").read_text(errors="replace")

    def start(self):
        """Starts it (again): same port, nothing remembered, no script known."""
        assert self.process is None, "redis runs already"
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed: install the package 'redis-server'"
        arguments = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        arguments += ["--dir", str(self.folder), "--daemonize", "no"]
        if len(str(self.socket_path)) < 108:
            arguments += ["--unixsocket", str(self.socket_path)]
        if self.password:
            arguments += ["--requirepass", self.password]
        with open(self.folder / f"redis-{self.port}.log", "ab") as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            poll(self.answers, 10, "redis-server")
        except AssertionError as why:
            self.kill()
            raise AssertionError(f"{why}\n{self.log[-2000:]}") from None

    def answers(self):
        assert self.process.poll() is None, f"redis-server has ended: {self.log[-2000:]}"
        try:
            return self.command("PING") == b"PONG"
        except OSError:
            return False

    def stop(self):
        """An orderly end (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self):
        """A crash (SIGKILL). Fine when it does not run."""
        self._end(signal.SIGKILL)

    def _end(self, number):
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(number)
        if number == signal.SIGTERM:
            try:
                process.wait(scaled(10))
                return
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def pause(self):
        """Stalled from here on: the kernel takes connections and bytes, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)
        poll(lambda: stat_fields(self.pid)[0] == "T", 5, "redis-server stops")

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words):
        """One command on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=scaled(10)) as connection:
            with connection.makefile("rb") as stream:
                if self.password:
                    self._send(connection, ("AUTH", self.password))
                    read_reply(stream)
                self._send(connection, words)
                return read_reply(stream)

    @staticmethod
    def _send(connection, words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        text = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        connection.sendall(text)

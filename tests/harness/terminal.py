# SPDX-License-Identifier: Apache-2.0
"""The command line as a person and as a script use it."""

import errno
import os
import pty
import select
import signal
import subprocess
import termios
import time

from harness.daemon import ROUNDHOUSE, clean_environment
from harness.wait import scaled


def roundhouse(*arguments, folder, stdin=None, server=None, timeout=60, **environment):
    """Run a command to its end; the CompletedProcess with text output. stdin: text, or None for an empty one."""
    if server is not None:
        environment["ROUNDHOUSE_SERVER"] = server.url
    return subprocess.run(
        [ROUNDHOUSE, *arguments],
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=scaled(timeout),
        cwd=folder,
        env=clean_environment(folder, **environment),
    )


class Terminal:
    """A command on a pseudo-terminal: type, and wait for what is shown."""

    def __init__(self, *arguments, folder, server=None, **environment):
        if server is not None:
            environment["ROUNDHOUSE_SERVER"] = server.url
        environment = clean_environment(folder, LC_ALL="C.UTF-8", **environment)
        environment["TERM"] = "xterm"
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [ROUNDHOUSE, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        self.shown = ""
        self.bytes = b""
        self.read_to = 0  # what expect() has gone past

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def pull(self, seconds):
        """Take what is there within `seconds`; False at the end of output."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            piece = b""
        self.bytes += piece
        self.shown = self.bytes.decode("utf-8", errors="replace")
        return bool(piece)

    def expect(self, text, seconds=20):
        """Wait until `text` is shown after what was expected before."""
        deadline = time.monotonic() + scaled(seconds)
        while True:
            at = self.shown.find(text, self.read_to)
            if at >= 0:
                self.read_to = at + len(text)
                return
            ended = not self.pull(0.05)
            if self.shown.find(text, self.read_to) < 0:
                assert not ended, f"the command ended before it showed {text!r}:\n{self.shown}"
                assert time.monotonic() < deadline, f"{text!r} was not shown:\n{self.shown}"

    def wait_for_keys(self, seconds=20):
        """Wait until keys go to the program one by one. The line editor asks for that after it has shown its prompt, and a
        Ctrl-D before would be lost, as the terminal itself takes it."""
        deadline = time.monotonic() + scaled(seconds)
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the terminal still edits lines by itself"
            time.sleep(0.005)

    def type(self, text):
        os.write(self.master, text.encode())

    def line(self, text):
        self.type(text + "\r")

    def interrupt(self):
        """Ctrl-C as the key; the terminal or the program makes a signal of it."""
        self.type("\x03")

    def wait(self, seconds=20):
        """The exit code; what is shown until then is kept."""
        deadline = time.monotonic() + scaled(seconds)
        while self.pull(0.05):
            assert time.monotonic() < deadline, f"the command did not end:\n{self.shown}"
            if self.process.poll() is not None and not select.select([self.master], [], [], 0)[0]:
                break
        return self.process.wait(scaled(5))


def take_terminal():
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

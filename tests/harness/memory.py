# SPDX-License-Identifier: Apache-2.0
"""What all workers of a daemon have in memory together, read from /proc again and again while a test goes on."""

import os
import threading
import time

from harness.daemon import WORKER

PAGE = os.sysconf("SC_PAGE_SIZE")


def workers(daemon_pid):
    """Process ids of a daemon's workers. A child that is still becoming one is not one."""
    found = []
    try:
        with open(f"/proc/{daemon_pid}/task/{daemon_pid}/children", encoding="ascii") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return found
    for pid in children:
        try:
            if os.path.samefile(f"/proc/{pid}/exe", WORKER):
                found.append(pid)
        except OSError:
            continue
    return found


def resident(pid):
    """Bytes; 0 when the process is gone, or is only an entry that waits to be reaped."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except OSError:
        return 0


class Watch:
    """Looks every `interval` seconds, in a thread of its own, from `with` to its end."""

    def __init__(self, daemon, budget, interval=0.02):
        self.pid = daemon.pid
        self.budget = budget
        self.interval = interval
        self.looks = 0
        self.peak = 0
        self.most = 0  # workers at once
        self.over = []  # (seconds since the beginning, {pid: bytes}) of the first few looks above the budget
        self.seen = {}  # pid -> most bytes
        self.sums = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def run(self):
        while not self.stopping.wait(self.interval):
            self.look()

    def look(self):
        found = {pid: resident(pid) for pid in workers(self.pid)}
        together = sum(found.values())
        self.looks += 1
        self.sums += together
        self.peak = max(self.peak, together)
        self.most = max(self.most, sum(1 for size in found.values() if size > 0))
        for pid, size in found.items():
            self.seen[pid] = max(size, self.seen.get(pid, 0))
        if together > self.budget and len(self.over) < 5:
            self.over.append((round(time.monotonic() - self.began, 3), found))

    def __str__(self):
        mean = self.sums / max(self.looks, 1)
        return (
            f"{self.looks} looks, {len(self.seen)} workers, {self.most} at once; mean {mean / 2**20:.0f} MiB, "
            f"peak {self.peak / 2**20:.0f} MiB of {self.budget / 2**20:.0f} MiB"
        )

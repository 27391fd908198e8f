# SPDX-License-Identifier: Apache-2.0
"""A disk that is or becomes full. The store lies on a tmpfs of its own in a mount namespace of the pull's; where that may
not be mounted, a library in front of the pull's writes says that the disk is full."""

import os
import subprocess
import threading


from harness.hub import gguf
from harness.pulling import Pull, installed
from harness.wait import poll

MIB = 1024 * 1024
CONTENT = gguf(40 * MIB, seed=2)
FILE = "Noise-Q4_K_M.gguf"
SOURCE = "hf:org/noise:Q4_K_M"


class Disk:
    """A small file system at `path`, held open by a process in a mount namespace of its own."""

    def __init__(self, path, size):
        path.mkdir()
        self.path = path
        script = f"mount -t tmpfs -o size={size} tmpfs {path} && echo ready && exec cat"
        own = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
        self.holder = subprocess.Popen(
            ["unshare", *own, "--mount", "sh", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.works = self.holder.stdout.readline() == b"ready\n"
        self.inside = f"/proc/{self.holder.pid}/root{path}"
        users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.prefix = ["nsenter", "--target", str(self.holder.pid), "--mount", *users]

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()


FULL_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static long left = -1;
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at);
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  if (left == -1) left = atol(getenv("ROOM"));
  if ((long)length > left) { errno = ENOSPC; return -1; }
  left -= (long)length;
  ssize_t (*real)(int, const void *, size_t, off_t) = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  return real(fd, bytes, length, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return pwrite(fd, bytes, length, at); }
"""


def test_disk_fills_up_in_the_middle(hub, tmp_path):
    served = hub.add_repository("org/noise", {FILE: CONTENT})[FILE]
    environment = {"HF_ENDPOINT": hub.url}
    disk = Disk(tmp_path / "disk", 100 * MIB)
    try:
        assert disk.works, disk.holder.stderr.read().decode()
        served.gate = gate = threading.Event()
        served.gate_after = 2 * MIB
        one = Pull(tmp_path, SOURCE, environment, prefix=disk.prefix, store=disk.path / "store")
        poll(lambda: hub.bytes_sent(FILE) >= 8 * MIB, 20, "the beginning of the file")
        # Somebody else takes all room but for 12 MiB of what is still to come.
        with open(f"{disk.inside}/filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free_of(disk.inside) - 12 * MIB)
        gate.set()
        assert one.wait() == 1
        last = one.events[-1]
        assert last["status"] == "no_space", last
        assert "full" in last["message"] and "kept" in last["message"] and "roundhouse gc" in last["message"]
        inside = f"{disk.inside}/store"
        assert installed(inside) == {}
        # Room again: it goes on with what is there, and the note of it could be written though the disk was full.
        os.unlink(f"{disk.inside}/filler")
        served.gate = None
        sent = hub.bytes_sent(FILE)
        two = Pull(tmp_path, SOURCE, environment, prefix=disk.prefix, store=disk.path / "store")
        two.succeeds()
        assert installed(inside)
        again = hub.bytes_sent(FILE) - sent
        assert again < len(CONTENT) - 12 * MIB, "what had come before the disk was full was fetched again"
        assert two.of("resolved")[0]["missing_bytes"] < len(CONTENT) - 12 * MIB
    finally:
        disk.close()


def free_of(path):
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize


def test_too_little_space_is_seen_before(hub, tmp_path):
    hub.add_repository("org/noise", {FILE: CONTENT})
    disk = Disk(tmp_path / "disk", 60 * MIB)
    try:
        assert disk.works, disk.holder.stderr.read().decode()
        one = Pull(tmp_path, SOURCE, {"HF_ENDPOINT": hub.url}, prefix=disk.prefix, store=disk.path / "store")
        assert one.wait() == 1
        last = one.events[-1]
        assert last["status"] == "no_space" and "40 MiB" in last["message"] and "60 MiB" in last["message"], last
        assert hub.bytes_sent(FILE) == 0
    finally:
        disk.close()


def test_writes_that_say_the_disk_is_full(hub, tmp_path):
    """The same without any right to mount."""
    hub.add_repository("org/noise", {FILE: CONTENT})
    source, library = tmp_path / "full.c", tmp_path / "full.so"
    source.write_text(FULL_DISK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    environment = {"HF_ENDPOINT": hub.url}
    preload = {
        "LD_PRELOAD": str(library),
        "ROOM": str(20 * MIB),
        "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""),
    }
    one = Pull(tmp_path, SOURCE, {**environment, **preload})
    one.fails("no_space", "full", "kept", "roundhouse gc")
    hub.forget()
    two = Pull(tmp_path, SOURCE, environment)
    two.succeeds()
    assert hub.bytes_sent(FILE) <= len(CONTENT) - 20 * MIB + 4 * MIB

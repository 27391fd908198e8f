# SPDX-License-Identifier: Apache-2.0
"""Waiting: conditions are polled, never slept for. All limits grow with RH_TIME_SCALE (sanitizer builds: 5)."""

import os
import time

SCALE = float(os.environ.get("RH_TIME_SCALE", "1"))

POLL_S = 0.005


def scaled(seconds):
    return seconds * SCALE


def roomy(size):
    """A bound on growing memory. A sanitizer keeps freed memory for a while, so its builds get more room."""
    return size if SCALE == 1 else 32 * size


def poll(condition, seconds, what):
    """The first true value of condition(); AssertionError naming `what` when there was none within scaled(seconds)."""
    deadline = time.monotonic() + scaled(seconds)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {scaled(seconds):g} s (last value: {value!r})")
        time.sleep(POLL_S)


def holds_for(condition, seconds, what):
    """condition() stays true for `seconds` (not scaled: a longer look only costs time)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"{what}: did not hold for {seconds:g} s"
        time.sleep(POLL_S)

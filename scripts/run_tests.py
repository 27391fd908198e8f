#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build, run the test suites and count what passed:   scripts/run_tests.py all|unit|wire|fault|e2e|asan|tsan

The last line of the output is 'N passed, N failed', and the exit status is not 0 when anything failed. Cases are counted
one by one, from the runners' own reports. A build that fails, a runner that dies or hangs, and a suite without a single
test count as failures.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RESULTS = BUILD / "test-results"
VENV_PYTHON = ROOT / "deps" / "venv" / "bin" / "python"

# A whole suite may take this long; single tests have limits of their own.
SUITE_SECONDS_MAX = 1500

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # A worker leaves without waiting for its engine's thread, which may hang: that is no leak.
    "TSAN_OPTIONS": "second_deadlock_stack=1:report_thread_leaks=0",
}

# What needs an engine: left out where the build has no such engine (CMake leaves out its unit tests likewise).
LLAMA_TESTS = ("tests/fault/test_model_files.py",)
ONNX_TESTS = (
    "tests/fault/test_onnx_files.py",
    "tests/e2e/test_onnx_conformance.py",
    "tests/e2e/test_onnx_models.py",
    "tests/e2e/test_onnx_real_models.py",
)

CMOCKA_BEGIN = re.compile(r"\[==========\](?: \S+:)? Running (\d+) test\(s\)")
CMOCKA_OK = re.compile(r"^.*\[       OK \] (.+)$", re.MULTILINE)
CMOCKA_SKIPPED = re.compile(r"^.*\[  SKIPPED \] (.+)$", re.MULTILINE)


class Count:
    def __init__(self, passed=0, failed=0, skipped=0, notes=()):
        self.passed = passed
        self.failed = failed
        self.skipped = skipped
        self.notes = list(notes)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes
        return self

    def blame(self, note):
        """Something outside the single tests went wrong: one more failure, unless it is explained by one counted."""
        if self.failed == 0:
            self.failed = 1
        self.notes.append(note)
        return self


def build_folder(preset):
    return BUILD if preset == "release" else BUILD / preset


def environment(preset):
    env = dict(os.environ, RH_BUILD_DIR=str(build_folder(preset)), PYTHONDONTWRITEBYTECODE="1")
    env["PATH"] = f"{ROOT / 'deps' / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    if preset != "release":
        env.setdefault("RH_TIME_SCALE", "5")
        for name, value in SANITIZER_OPTIONS.items():
            env.setdefault(name, value)
    return env


def steady_addresses(preset):
    """Some kernels spread a process's memory wider than gcc 12's sanitizers can follow; this keeps it in place."""
    command = ["setarch", os.uname().machine, "-R"]
    if preset == "release" or not shutil.which("setarch"):
        return []
    return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else []


def execute(command, preset, seconds_max=SUITE_SECONDS_MAX):
    """Run a command in its own process group; its exit status, or None when it took too long and was killed."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment(preset),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(seconds_max)
    except BaseException as reason:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(reason, subprocess.TimeoutExpired):
            return None
        raise


def run_layers():
    """The include rules between the source folders, and that their check still finds what it should."""
    count = Count()
    for arguments in ([], ["--self-test"]):
        status = execute([sys.executable, ROOT / "scripts" / "check_layers.py", *arguments], "release")
        if status == 0:
            count.passed += 1
        else:
            count.failed += 1
            count.notes.append(" ".join(["check_layers.py", *arguments]))
    return count


def run_build(preset):
    status = execute([ROOT / "scripts" / "build.sh", preset], preset)
    return Count() if status == 0 else Count().blame("the build failed")


def read_report(path):
    """The <testcase> elements of a JUnit file, or None when there is no whole one."""
    try:
        return list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None


def count_cmocka(case):
    """The cases inside one unit test program. A program that dies leaves cases that never said OK: they failed."""
    output = case.findtext("system-out") or ""
    planned = sum(int(number) for number in CMOCKA_BEGIN.findall(output))
    ended_well = case.get("status") == "run"
    if planned == 0:
        return Count(passed=1) if ended_well else Count(failed=1, notes=[case.get("name")])
    passed = len(CMOCKA_OK.findall(output))
    # cmocka names skipped tests twice, when they run and in the closing list.
    skipped = len(set(CMOCKA_SKIPPED.findall(output)) & set(re.findall(r"\[ RUN      \] (.+)", output)))
    count = Count(passed, max(planned - passed - skipped, 0), skipped)
    if count.failed > 0 or not ended_well:
        count.blame(case.get("name"))
    return count


def run_unit(preset):
    report = RESULTS / preset / "unit.xml"
    report.unlink(missing_ok=True)
    report.parent.mkdir(parents=True, exist_ok=True)
    limit = "100000000"
    command = [*steady_addresses(preset), "ctest", "--test-dir", build_folder(preset), "--output-on-failure"]
    command += ["--no-tests=error", "--parallel", str(os.cpu_count() or 1), "--output-junit", report]
    command += ["--test-output-size-passed", limit, "--test-output-size-failed", limit]
    status = execute(command, preset)
    cases = read_report(report)
    if not cases:
        return Count().blame(f"ctest ended with {status} and no report")
    total = Count()
    for case in cases:
        total.add(count_cmocka(case))
    return total if status == 0 else total.blame(f"ctest ended with {status}")


def count_pytest(cases):
    """One verdict for each test: its call and its teardown may be reported apart, and the worse one counts."""
    verdicts = {}
    for case in cases:
        name = (case.get("classname"), case.get("name"))
        if case.find("failure") is not None or case.find("error") is not None:
            verdicts[name] = "failed"
        elif case.find("skipped") is not None:
            verdicts.setdefault(name, "skipped")
        else:
            verdicts.setdefault(name, "passed")
    tally = list(verdicts.values())
    notes = [f"{group}::{name}" for (group, name), verdict in verdicts.items() if verdict == "failed"]
    return Count(tally.count("passed"), tally.count("failed"), tally.count("skipped"), notes)


def run_pytest(preset, suite, name, options):
    """One call of pytest; `name` is its report's."""
    report = RESULTS / preset / f"{name}.xml"
    report.unlink(missing_ok=True)
    report.parent.mkdir(parents=True, exist_ok=True)
    command = [*steady_addresses(preset), VENV_PYTHON, "-m", "pytest", f"tests/{suite}", "-q", "-p", "no:cacheprovider"]
    if preset == "tsan" or os.environ.get("ENGINE_LLAMA") == "off":
        command += [f"--ignore={test}" for test in LLAMA_TESTS]
    if preset == "tsan" or os.environ.get("ENGINE_ONNX", "on").lower() == "off":
        command += [f"--ignore={test}" for test in ONNX_TESTS]
    # A temporary folder of our own: pytest's usual one is shared, and other runs clear it.
    command += ["--timeout-method=signal", f"--basetemp={report.with_suffix('.tmp')}", f"--junitxml={report}", *options]
    status = execute(command, preset)
    cases = read_report(report)
    if not cases:
        return Count().blame(f"pytest ended with {status} and no test was run")
    count = count_pytest(cases)
    return count if status == 0 else count.blame(f"pytest ended with {status}")


# Most tests wait for something. Those of e2e compute too, so fewer run side by side, and those marked `alone` (tests/conftest.py)
# run one by one.
SIDE_BY_SIDE = ("--dist", "loadfile", "--no-loadscope-reorder")


def run_suite(preset, suite):
    if suite != "e2e":
        return run_pytest(preset, suite, suite, ("-n", "3", *SIDE_BY_SIDE))
    together = run_pytest(preset, suite, suite, ("-n", "2", *SIDE_BY_SIDE, "-m", "not alone"))
    return together.add(run_pytest(preset, suite, f"{suite}-alone", ("-m", "alone")))


def steps_of(preset, suites):
    """The build of a preset and its suites. Nothing is run on top of a build that failed."""
    yield f"build ({preset})", lambda: run_build(preset)
    for suite in suites:
        if suite == "unit":
            yield f"unit ({preset})", lambda: run_unit(preset)
        else:
            yield f"{suite} ({preset})", lambda suite=suite: run_suite(preset, suite)


RELEASE_SUITES = ("unit", "wire", "fault", "e2e")
SANITIZER_SUITES = ("unit", "wire", "fault")


def plan(what):
    """Groups of steps; a group ends at its first failed build, the next group is run all the same."""
    if what == "all":
        yield [("layers", run_layers)]
    if what in RELEASE_SUITES:
        yield steps_of("release", (what,))
    if what == "all":
        yield steps_of("release", RELEASE_SUITES)
    for preset in ("asan", "tsan"):
        if what in ("all", preset):
            yield steps_of(preset, SANITIZER_SUITES)


def run_group(steps):
    done = []
    for title, step in steps:
        print(f"\n=== {title}", flush=True)
        started = time.monotonic()
        count = step()
        done.append((title, count, time.monotonic() - started))
        if title.startswith("build") and count.failed:
            break
    return done


def summarize(done):
    """Print the table and the closing line; True when all went well."""
    lines = ["", f"{'suite':<18}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for title, count, seconds in done:
        lines.append(f"{title:<18}{count.passed:>8}{count.failed:>8}{count.skipped:>9}{seconds:>9.0f}")
    notes = [f"FAILED {title}: {note}" for title, count, _ in done for note in count.notes]
    passed = sum(count.passed for _, count, _ in done)
    failed = sum(count.failed for _, count, _ in done)
    if passed == 0 and failed == 0:
        failed = 1
        notes.append("FAILED: no test was run")
    lines += ["", *notes] if notes else []
    lines += ["", f"{passed} passed, {failed} failed"]
    text = "\n".join(lines) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "summary.txt").write_text(text, encoding="utf-8")
    print(text, end="", flush=True)
    return failed == 0


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("all", "asan", "tsan", *RELEASE_SUITES):
        sys.exit(__doc__)
    done = []
    for group in plan(sys.argv[1]):
        done += run_group(group)
    return 0 if summarize(done) else 1


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The commands of `roundhouse`, as scripts use them. The interactive chat is in test_cli_chat.py."""

import json
import re
import signal
import subprocess

import jsonschema
import pytest

from harness.daemon import ROUNDHOUSE, clean_environment
from harness.terminal import roundhouse
from harness.wait import scaled

COMMANDS = """serve run embed pull recommend list show rm cp verify gc convert quantize ps load stop pin alias route
providers usage keys experiments feedback cache info bench config help version""".split()
HELLO = "This is the fake engine speaking; it repeats"


@pytest.fixture(scope="module")
def fakes(module_daemon):
    """A server with two fake models."""
    return module_daemon(models={"alpha": "fake:", "beta": "fake:slots=2,context=512"}, default_model="alpha")


# --- help and version ---


def test_help_names_every_command(tmp_path):
    done = roundhouse("help", folder=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\b", done.stdout, re.MULTILINE), command


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(tmp_path, command):
    by_help = roundhouse("help", command, folder=tmp_path)
    assert by_help.returncode == 0 and by_help.stderr == ""
    assert by_help.stdout.startswith(f"Usage: roundhouse {command}")
    if command not in ("help",):
        by_flag = roundhouse(command, "--help", folder=tmp_path)
        assert by_flag.returncode == 0
        assert by_flag.stdout == by_help.stdout
    for line in by_help.stdout.splitlines():
        assert line == line.rstrip()


def test_help_of_serve_names_every_setting(tmp_path):
    text = roundhouse("help", "serve", folder=tmp_path).stdout
    for flag in ("--listen", "--models-dir", "--queue-max", "--request-timeout", "--slots", "--model"):
        assert flag in text


def test_no_arguments_shows_help(tmp_path):
    done = roundhouse(folder=tmp_path)
    assert done.returncode == 2
    assert "serve" in done.stdout + done.stderr


def test_unknown_command_and_flag_name_the_nearest(tmp_path):
    done = roundhouse("lst", folder=tmp_path)
    assert done.returncode == 2
    assert '"list"' in done.stderr and done.stdout == ""
    done = roundhouse("run", "--temperatur", "1", "alpha", "hi", folder=tmp_path)
    assert done.returncode == 2
    assert "--temperature" in done.stderr


def test_version(tmp_path):
    done = roundhouse("version", folder=tmp_path)
    assert re.match(r"roundhouse \d+\.\d+\.\d+", done.stdout)
    assert roundhouse("--version", folder=tmp_path).stdout == done.stdout
    body = json.loads(roundhouse("version", "--json", folder=tmp_path).stdout)
    assert body["version"] in done.stdout


# --- run ---


def test_run(tmp_path, fakes):
    done = roundhouse("run", "alpha", "hello", folder=tmp_path, server=fakes)
    assert (done.returncode, done.stdout, done.stderr) == (0, HELLO + "\n", "")


def test_run_joins_words(tmp_path, fakes):
    done = roundhouse("run", "alpha", "[[text=two", "words]]", folder=tmp_path, server=fakes)
    assert done.stdout == "two words\n"


def test_run_reads_standard_input(tmp_path, fakes):
    done = roundhouse("run", "alpha", folder=tmp_path, server=fakes, stdin="[[text=from a pipe]]\n")
    assert (done.returncode, done.stdout) == (0, "from a pipe\n")


def test_run_reads_both(tmp_path, fakes):
    done = roundhouse("run", "--json", "alpha", "one two", folder=tmp_path, server=fakes, stdin="three four five")
    assert json.loads(done.stdout)["prompt_tokens"] == 5


def test_run_json(tmp_path, fakes):
    done = roundhouse("run", "--json", "alpha", "hello", folder=tmp_path, server=fakes)
    body = json.loads(done.stdout)
    assert body["text"] == HELLO
    assert body["model"] == "alpha"
    assert body["finish_reason"] == "stop"
    assert body["completion_tokens"] > 0


def test_run_flags(tmp_path, fakes):
    flags = ["--max-tokens", "3", "--temperature", "0.5", "--seed", "7", "--stats", "--system", "Be brief."]
    done = roundhouse("run", *flags, "alpha", "hello", folder=tmp_path, server=fakes)
    assert done.stdout == "This is the\n"
    assert "tokens/s" in done.stderr


def test_run_raw(tmp_path, fakes):
    done = roundhouse("run", "--raw", "--max-tokens", "2", "alpha", "hello", folder=tmp_path, server=fakes)
    assert done.stdout == "This is\n"


def test_run_unknown_model(tmp_path, fakes):
    done = roundhouse("run", "alpah", "hello", folder=tmp_path, server=fakes)
    assert done.returncode == 1
    assert "alpah" in done.stderr and "alpha" in done.stderr.replace("alpah", "")
    assert done.stdout == ""


def test_run_error_in_the_middle(tmp_path, fakes):
    fakes.expect_errors("told to fail")
    done = roundhouse("run", "alpha", "[[fail_at=3]]", folder=tmp_path, server=fakes)
    assert done.returncode == 1
    assert done.stdout.startswith("This is the")
    assert "told to fail" in done.stderr


def test_run_without_text(tmp_path, fakes):
    done = roundhouse("run", "alpha", folder=tmp_path, server=fakes)
    assert done.returncode == 2
    assert "text" in done.stderr


def test_run_invalid_utf8(tmp_path, fakes):
    environment = clean_environment(tmp_path, ROUNDHOUSE_SERVER=fakes.url)
    done = subprocess.run(
        [ROUNDHOUSE, "run", "alpha"], input=b"\xff\xfe", capture_output=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 1
    assert b"UTF-8" in done.stderr


def test_run_no_server(tmp_path):
    done = roundhouse("run", "--server", "http://127.0.0.1:1", "alpha", "hello", folder=tmp_path)
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr


def test_run_private_server(tmp_path):
    """A model that is a file (or the fake engine) needs no server: one is started for as long as the command runs."""
    done = roundhouse("run", "fake:slots=1", "hello", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, HELLO + "\n")


def test_run_missing_file(tmp_path):
    done = roundhouse("run", "no-such.gguf", "hello", folder=tmp_path)
    assert done.returncode == 1
    assert "no-such.gguf" in done.stderr


def test_run_interrupted(tmp_path, fakes):
    process = subprocess.Popen(
        [ROUNDHOUSE, "run", "alpha", "[[tokens=100000 delay_ms=10]]"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=clean_environment(tmp_path, ROUNDHOUSE_SERVER=fakes.url),
        cwd=tmp_path,
    )
    assert process.stdout.read(4) == b"This"
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(scaled(10)) == 130
    fakes.wait_idle()


def test_run_output_to_a_closed_pipe(tmp_path, fakes):
    """`roundhouse run ... | head -c 10` ends both."""
    process = subprocess.Popen(
        [ROUNDHOUSE, "run", "alpha", "[[tokens=100000 delay_ms=1]]"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(tmp_path, ROUNDHOUSE_SERVER=fakes.url),
        cwd=tmp_path,
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(scaled(20)) != 0
    process.stderr.close()
    fakes.wait_idle()


def test_run_with_the_real_model(tmp_path, server):
    done = roundhouse(
        "run", "--temperature", "0", "--max-tokens", "24", "smollm2", "Name the capital of France.",
        folder=tmp_path, server=server,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Paris" in done.stdout


def test_run_with_a_model_file(tmp_path, smollm2):
    done = roundhouse("run", "--temperature", "0", "--max-tokens", "8", smollm2, "Say hello.", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


# --- list, ps, info ---


def test_list(tmp_path, fakes):
    done = roundhouse("list", folder=tmp_path, server=fakes)
    assert done.returncode == 0
    assert re.search(r"^alpha\b", done.stdout, re.MULTILINE) and re.search(r"^beta\b", done.stdout, re.MULTILINE)
    body = json.loads(roundhouse("list", "--json", folder=tmp_path, server=fakes).stdout)
    assert "alpha" in json.dumps(body) and "beta" in json.dumps(body)


def test_ps(tmp_path, fakes):
    fakes.chat("hi")
    done = roundhouse("ps", folder=tmp_path, server=fakes)
    assert done.returncode == 0
    assert re.search(r"^alpha +ready\b", done.stdout, re.MULTILINE), done.stdout
    body = json.loads(roundhouse("ps", "--json", folder=tmp_path, server=fakes).stdout)
    assert body["models"][0]["pid"] in fakes.worker_pids()


def test_ps_without_a_server(tmp_path):
    done = roundhouse("ps", "--server", "http://127.0.0.1:1", folder=tmp_path)
    assert done.returncode == 3


def test_info(tmp_path):
    done = roundhouse("info", folder=tmp_path)
    assert done.returncode == 0
    assert "llama" in done.stdout and "fake" in done.stdout
    body = json.loads(roundhouse("info", "--json", folder=tmp_path).stdout)
    text = json.dumps(body)
    assert "llama" in text and "cpu" in text.lower()


def test_bench(tmp_path, fakes):
    flags = ["--json", "--requests", "4", "--concurrency", "2", "--max-tokens", "8"]
    done = roundhouse("bench", *flags, "alpha", folder=tmp_path, server=fakes)
    assert done.returncode == 0, done.stderr
    numbers = json.dumps(json.loads(done.stdout))
    assert "tokens_per_s" in numbers


# --- config ---


def write_config(folder, config):
    path = folder / "roundhouse.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def test_config_check_good(tmp_path):
    path = write_config(tmp_path, {"listen": "127.0.0.1:9999", "models": {"m": {"path": "fake:slots=2"}}})
    done = roundhouse("config", "check", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "config, says",
    [
        ({"listn": "127.0.0.1:1"}, "listn.*listen"),
        ({"queue_max": 0}, "queue_max"),
        ({"queue_max": "many"}, "queue_max"),
        ({"request_timeout": "10 parsecs"}, "request_timeout"),
        ({"log_level": "loud"}, "log_level.*debug|log_level.*info"),
        ({"models": {"m": {"path": "fake:", "slotz": 1}}}, "slotz.*slots"),
        ({"models": {"m": {}}}, "path"),
        ({"models": {"bad name!": {"path": "fake:"}}}, "bad name!"),
        ("{", "JSON|line 1"),
        ("[]", "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_config_check_bad(tmp_path, config, says):
    path = write_config(tmp_path, config)
    done = roundhouse("config", "check", "--config", str(path), folder=tmp_path)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert re.search(says, text, re.DOTALL), text
    # The daemon refuses the same file with the same words.
    served = roundhouse("serve", "--config", str(path), folder=tmp_path)
    assert served.returncode != 0
    assert re.search(says, served.stderr, re.DOTALL), served.stderr


def test_config_missing_file(tmp_path):
    done = roundhouse("config", "check", "--config", "nowhere.json", folder=tmp_path)
    assert done.returncode != 0
    assert "nowhere.json" in done.stderr


def test_config_schema_fits(tmp_path):
    schema = json.loads(roundhouse("config", "schema", folder=tmp_path).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"listen": "127.0.0.1:9999", "queue_max": 3, "models": {"m": {"path": "fake:slots=2"}}}
    jsonschema.validate(good, schema)
    for bad in ({"listn": "x"}, {"queue_max": "many"}, {"models": {"m": {"path": "x", "slotz": 1}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_precedence_of_file_environment_and_flag(daemon):
    """flag > environment > file."""
    config = {"cors_origin": "http://file", "models": {"fake": {"path": "fake:"}}}
    for environment, flags, wanted in (
        ({}, {}, "http://file"),
        ({"ROUNDHOUSE_CORS_ORIGIN": "http://environment"}, {}, "http://environment"),
        ({"ROUNDHOUSE_CORS_ORIGIN": "http://environment"}, {"cors_origin": "http://flag"}, "http://flag"),
    ):
        server = daemon(models={}, config=config, environment=environment, **flags)
        answer = server.get("/health", headers={"origin": wanted})
        assert answer.header("access-control-allow-origin") == wanted
        server.stop()


def test_serve_bad_flag_and_variable(tmp_path):
    done = roundhouse("serve", "--quue-max", "3", folder=tmp_path)
    assert done.returncode == 2 and "--queue-max" in done.stderr
    done = roundhouse("serve", folder=tmp_path, ROUNDHOUSE_QUUE_MAX="3")
    assert done.returncode != 0 and "ROUNDHOUSE_QUEUE_MAX" in done.stderr


def test_serve_finds_models_in_the_folder(daemon, smollm2, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "SmolLM2.gguf").symlink_to(smollm2)
    (folder / "notes.gguf").write_text("not a model")
    server = daemon(models={}, models_dir=folder, preload=False)
    assert [model["id"] for model in server.get("/v1/models").json()["data"]] == ["smollm2"]
    assert server.log(level="warn")


def test_serve_without_models_says_what_to_do(daemon):
    server = daemon(models={})
    answer = server.chat("hi")
    assert answer.status == 404
    assert ".gguf" in answer.error()["message"]

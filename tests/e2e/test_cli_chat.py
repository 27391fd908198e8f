# SPDX-License-Identifier: Apache-2.0
"""`roundhouse run MODEL` on a terminal: a chat."""

import pytest

from harness.terminal import Terminal

PROMPT = ">>> "


@pytest.fixture(scope="module")
def fakes(module_daemon):
    return module_daemon(models={"alpha": "fake:"})


@pytest.fixture
def chat(tmp_path, fakes):
    with Terminal("run", "alpha", folder=tmp_path, server=fakes) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def test_turns_and_leaving(chat):
    chat.line("[[text=first answer]]")
    chat.expect("\nfirst answer")
    chat.expect(PROMPT)
    chat.line("[[text=second answer]]")
    chat.expect("\nsecond answer")
    chat.expect(PROMPT)
    chat.line("/bye")
    assert chat.wait() == 0


def test_control_d_leaves(chat):
    chat.type("\x04")
    assert chat.wait() == 0


def test_control_c_stops_the_answer_and_not_the_chat(chat, fakes):
    chat.line("[[tokens=100000 delay_ms=10]]")
    chat.expect("This is the fake engine")
    chat.interrupt()
    chat.expect(PROMPT)
    fakes.wait_idle()
    chat.line("[[text=still here]]")
    chat.expect("\nstill here")
    chat.expect(PROMPT)
    chat.interrupt()
    assert chat.wait() == 130


def test_commands(chat):
    chat.line("/help")
    chat.expect("/clear")
    chat.expect(PROMPT)
    chat.line("/set max_tokens 2")
    chat.expect(PROMPT)
    chat.line("hello")
    chat.expect("\nThis is\r\n")
    chat.expect(PROMPT)
    chat.line("/nonsense")
    chat.expect("/help")
    chat.expect(PROMPT)
    chat.line("/clear")
    chat.expect("anew")


def test_several_lines(chat):
    chat.line('"""one')
    chat.expect("... ")
    chat.line('[[text=joined]]"""')
    chat.expect("\njoined")


def test_answer_cannot_control_the_terminal(tmp_path, fakes):
    """A model that writes escape sequences (here: rename the window) to a terminal: they are not passed on."""
    with Terminal("run", "alpha", "[[text=a\x1b]0;title\x07b\u009b2Jc]]", folder=tmp_path, server=fakes) as terminal:
        terminal.expect("a]0;titleb2Jc")
        assert terminal.wait() == 0


def test_error_keeps_the_chat_alive(chat, fakes):
    fakes.expect_errors("told to fail")
    chat.line("[[fail_at=2]]")
    chat.expect("told to fail")
    chat.expect(PROMPT)
    chat.line("[[text=fine again]]")
    chat.expect("\nfine again")


def test_server_that_ends_while_chatting(tmp_path, daemon):
    server = daemon()
    with Terminal("run", "fake", folder=tmp_path, server=server) as terminal:
        terminal.expect(PROMPT)
        server.stop()
        terminal.line("hello")
        terminal.expect("roundhouse:")
        assert terminal.wait() == 3

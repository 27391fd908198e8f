# SPDX-License-Identifier: Apache-2.0
"""`roundhouse run MODEL` on a terminal: a chat."""

import pytest

from harness.terminal import Terminal

PROMPT = ">>> "


def say(terminal, text, answer):
    """Type a line, go past its echo, wait for the answer."""
    terminal.line(text)
    terminal.expect(text)
    terminal.expect(answer)


@pytest.fixture(scope="module")
def fakes(module_daemon):
    return module_daemon(models={"alpha": "fake:"})


@pytest.fixture
def chat(tmp_path, fakes):
    with Terminal("run", "alpha", folder=tmp_path, server=fakes) as terminal:
        terminal.expect(PROMPT)
        yield terminal


def test_turns_and_leaving(chat):
    say(chat, "[[text=first answer]]", "first answer")
    chat.expect(PROMPT)
    say(chat, "[[text=second answer]]", "second answer")
    chat.expect(PROMPT)
    chat.line("/bye")
    assert chat.wait() == 0


def test_control_d_leaves(chat):
    chat.wait_for_keys()
    chat.type("\x04")
    assert chat.wait() == 0


def test_control_c_stops_the_answer_and_not_the_chat(chat, fakes):
    chat.line("[[tokens=100000 delay_ms=10]]")
    chat.expect("This is the fake engine")
    chat.interrupt()
    chat.expect(PROMPT)
    fakes.wait_idle()
    say(chat, "[[text=still here]]", "still here")
    chat.expect(PROMPT)
    chat.interrupt()
    assert chat.wait() == 130


def test_commands(chat):
    chat.line("/help")
    chat.expect("/clear")
    chat.expect(PROMPT)
    chat.line("/set max_tokens 2")
    chat.expect(PROMPT)
    say(chat, "hello", "This is\r\n")
    chat.expect(PROMPT)
    chat.line("/nonsense")
    chat.expect("/help")
    chat.expect(PROMPT)
    chat.line("/clear")
    chat.expect("anew")


def test_several_lines(chat):
    chat.line('"""one')
    chat.expect("... ")
    say(chat, '[[text=joined]]"""', "joined")


def test_answer_cannot_control_the_terminal(tmp_path, fakes):
    """A model that writes escape sequences (here: rename the window) to a terminal: they are not passed on."""
    with Terminal("run", "alpha", "[[text=a\x1b]0;title\x07b\u009b2Jc]]", folder=tmp_path, server=fakes) as terminal:
        terminal.expect("a]0;titleb2Jc")
        assert terminal.wait() == 0


def test_error_keeps_the_chat_alive(chat, fakes):
    fakes.expect_errors("told to fail")
    say(chat, "[[fail_at=2]]", "told to fail")
    chat.expect(PROMPT)
    say(chat, "[[text=fine again]]", "fine again")


def test_server_that_ends_while_chatting(tmp_path, daemon):
    server = daemon()
    with Terminal("run", "fake", folder=tmp_path, server=server) as terminal:
        terminal.expect(PROMPT)
        server.stop()
        terminal.line("hello")
        terminal.expect("roundhouse:")
        assert terminal.wait() == 3

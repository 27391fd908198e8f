# SPDX-License-Identifier: Apache-2.0
"""Real `openai` and `anthropic` packages read our answers: text, calls of tools, thoughts, errors; whole and streamed.

The worker says what the question tells it to (tools/scripted_worker.py), so no model needs to be able to do any of it.
"""

import json

import anthropic
import openai
import pytest

from harness.clients import anthropic_client, openai_client
from harness.daemon import ROOT

WORKER = ROOT / "tests" / "tools" / "scripted_worker.py"

TEXT = [{"event": "delta", "text": "Hello"}, {"event": "delta", "text": ' "wörld"'}]
TOOLS = [
    {"event": "delta", "text": "Let me look."},
    {"event": "tool", "index": 0, "id": "call_1", "name": "weather", "arguments": ""},
    {"event": "tool", "index": 0, "arguments": '{"city": '},
    {"event": "tool", "index": 0, "arguments": '"Köln"}'},
    {"event": "tool", "index": 1, "id": "call_2", "name": "now", "arguments": "{}"},
]
THOUGHTS = [
    {"event": "delta", "text": "Hm, ", "reasoning": True},
    {"event": "delta", "text": "well.", "reasoning": True},
    {"event": "delta", "text": "Four."},
]
THINKING = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture(scope="module")
def server(module_daemon):
    daemon = module_daemon(models={"scripted": "fake:"}, worker=str(WORKER))
    daemon.expect_errors("told to fail")
    return daemon


def ask(script):
    return {"model": "scripted", "messages": [{"role": "user", "content": json.dumps(script)}]}


@pytest.fixture(scope="module")
def claude(server):
    return anthropic_client(server)


@pytest.fixture(scope="module")
def gpt(server):
    return openai_client(server)


def answer_of(claude, script, stream, **options):
    if not stream:
        return claude.messages.create(max_tokens=100, **ask(script), **options), []
    with claude.messages.stream(max_tokens=100, **ask(script), **options) as events:
        seen = [event.type for event in events]
        return events.get_final_message(), seen


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
class TestAnthropic:
    def test_text(self, claude, stream):
        message, events = answer_of(claude, TEXT, stream)
        assert [block.type for block in message.content] == ["text"]
        assert message.content[0].text == 'Hello "wörld"'
        assert (message.role, message.type, message.model) == ("assistant", "message", "scripted")
        assert message.id.startswith("msg_")
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
        assert message.usage.input_tokens == 5
        assert message.usage.cache_read_input_tokens == 2
        assert message.usage.output_tokens == 2
        if stream:
            assert (events[0], events[-1]) == ("message_start", "message_stop")
            assert events.count("content_block_start") == events.count("content_block_stop") == 1

    def test_tools(self, claude, stream):
        message, _ = answer_of(claude, TOOLS, stream)
        assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
        assert message.content[1].name == "weather"
        assert message.content[1].id == "call_1"
        assert message.content[1].input == {"city": "Köln"}
        assert (message.content[2].name, message.content[2].input) == ("now", {})
        assert message.stop_reason == "tool_use"

    def test_thoughts(self, claude, stream):
        message, _ = answer_of(claude, THOUGHTS, stream, thinking=THINKING)
        assert [block.type for block in message.content] == ["thinking", "text"]
        assert message.content[0].thinking == "Hm, well."
        assert message.content[1].text == "Four."
        # Whoever did not ask for them finds the text where it always is.
        message, _ = answer_of(claude, THOUGHTS, stream)
        assert message.content[0].text == "Four."

    def test_stop_reasons(self, claude, stream):
        for finish, reason in [("length", "max_tokens"), ("content_filter", "refusal"), ("tool_calls", "tool_use")]:
            message, _ = answer_of(claude, [*TEXT, {"event": "end", "finish": finish}], stream)
            assert message.stop_reason == reason
        script = [*TEXT, {"event": "end", "finish": "stop", "stop": "END"}]
        message, _ = answer_of(claude, script, stream, stop_sequences=["END"])
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")

    def test_error(self, claude, stream):
        failure = {"event": "error", "status": "context_overflow", "param": "", "message": "told to fail"}
        with pytest.raises(anthropic.APIStatusError) as caught:
            answer_of(claude, [failure], stream)
        assert caught.value.status_code == (200 if stream else 400)  # a stream had begun
        assert caught.value.body["type"] == "error"
        assert caught.value.body["error"] == {
            "type": "invalid_request_error",
            "message": "prompt is too long: told to fail",
        }
        with pytest.raises(anthropic.APIStatusError) as caught:
            answer_of(claude, [*TEXT, {**failure, "status": "unavailable"}], stream)
        assert "told to fail" in str(caught.value)
        assert caught.value.body["error"]["type"] == "overloaded_error"

    def test_beta(self, claude, stream):
        if stream:
            with claude.beta.messages.stream(max_tokens=100, betas=["some-beta-2026"], **ask(TEXT)) as events:
                message = events.get_final_message()
        else:
            message = claude.beta.messages.create(max_tokens=100, betas=["some-beta-2026"], **ask(TEXT))
        assert message.content[0].text == 'Hello "wörld"'


def test_anthropic_errors(claude):
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(model="nobody", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert caught.value.body["request_id"]
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(
            max_tokens=5, tools=[{"type": "web_search_20250305", "name": "web_search"}], **ask(TEXT)
        )
    assert "web_search_20250305" in caught.value.body["error"]["message"]


def gathered(chunks):
    """What a client makes of a stream's chunks."""
    text, thoughts, calls, finish, usage = "", "", {}, None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thoughts += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                known = calls.setdefault(call.index, {"id": call.id, "name": call.function.name, "arguments": ""})
                known["arguments"] += call.function.arguments or ""
    return text, thoughts, list(calls.values()), finish, usage


def ask_openai(gpt, script, stream):
    if stream:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        return gathered(gpt.chat.completions.create(**ask(script), **options))
    answer = gpt.chat.completions.create(**ask(script))
    message = answer.choices[0].message
    calls = [
        {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        for call in message.tool_calls or []
    ]
    thoughts = getattr(message, "reasoning_content", None) or ""
    assert all(call.type == "function" for call in message.tool_calls or [])
    return message.content or "", thoughts, calls, answer.choices[0].finish_reason, answer.usage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
class TestOpenAI:
    def test_tools(self, gpt, stream):
        text, _, calls, finish, usage = ask_openai(gpt, TOOLS, stream)
        assert text == "Let me look."
        assert calls == [
            {"id": "call_1", "name": "weather", "arguments": '{"city": "Köln"}'},
            {"id": "call_2", "name": "now", "arguments": "{}"},
        ]
        assert finish == "tool_calls"
        assert (usage.prompt_tokens, usage.completion_tokens) == (7, 5)
        assert usage.prompt_tokens_details.cached_tokens == 2

    def test_thoughts(self, gpt, stream):
        text, thoughts, calls, finish, _ = ask_openai(gpt, THOUGHTS, stream)
        assert (text, thoughts, calls, finish) == ("Four.", "Hm, well.", [], "stop")

    def test_filtered(self, gpt, stream):
        *_, finish, _ = ask_openai(gpt, [*TEXT, {"event": "end", "finish": "content_filter"}], stream)
        assert finish == "content_filter"


def test_openai_whole_call_without_text(gpt):
    answer = gpt.chat.completions.create(**ask(TOOLS[1:]))
    assert answer.choices[0].message.content is None
    # The answer goes back as the client's own type has it.
    json.dumps(answer.choices[0].message.model_dump())


def test_openai_stream_helper(gpt):
    with gpt.chat.completions.stream(**ask(TOOLS)) as stream:
        completion = stream.get_final_completion()
    assert [call.function.name for call in completion.choices[0].message.tool_calls] == ["weather", "now"]


def test_openai_error_in_a_stream(gpt):
    failure = {"event": "error", "status": "unavailable", "param": "", "message": "told to fail"}
    with pytest.raises(openai.APIError, match="told to fail"):
        ask_openai(gpt, [*TEXT, failure], True)

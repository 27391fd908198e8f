# SPDX-License-Identifier: Apache-2.0
"""What harness.upstream says: bodies and events of OpenAI's chat completions and responses and of Anthropic's messages."""

import json

CREATED = 1700000000


def protocol_of(path):
    """"chat", "completions", "embeddings", "responses", "anthropic", or None."""
    ends = {
        "/chat/completions": "chat",
        "/completions": "completions",
        "/embeddings": "embeddings",
        "/responses": "responses",
        "/messages": "anthropic",
    }
    path = path.partition("?")[0]
    return next((name for end, name in ends.items() if path.endswith(end)), None)


def dump(value):
    return json.dumps(value, ensure_ascii=False).encode()


def sse(value, name=None):
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + (value if isinstance(value, bytes) else dump(value)) + b"\n\n"


def listing():
    return dump({"object": "list", "data": [{"id": "upstream-model", "object": "model", "created": CREATED, "owned_by": "test"}]})


def model_of(seen, reply):
    return reply.model or (seen.body or {}).get("model", "upstream-model")


def arguments_of(tool):
    return tool[1] if isinstance(tool[1], str) else json.dumps(tool[1])


def pieces_of(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


def finish_of(reply):
    return reply.finish or ("tools" if reply.tools else "stop")


# --- errors

ERRORS = {
    400: ("invalid_request_error", "That request is not right."),
    401: ("authentication_error", "Incorrect API key provided."),
    403: ("permission_error", "This key may not do that."),
    404: ("not_found_error", "There is no such model."),
    413: ("request_too_large", "That is too much."),
    429: ("rate_limit_error", "Slow down, please."),
    500: ("api_error", "Something broke inside."),
    529: ("overloaded_error", "Overloaded."),
}


def error(seen, reply):
    kind, text = reply.error or ERRORS.get(reply.status, ("api_error", f"Upstream says {reply.status}."))
    if reply.too_long:
        kind = "invalid_request_error"
        text = "prompt is too long: 210000 tokens > 200000 maximum"
        if seen.protocol != "anthropic":
            text = "This model's maximum context length is 8192 tokens. Your messages resulted in 9000 tokens."
    if seen.protocol == "anthropic":
        return dump({"type": "error", "error": {"type": kind, "message": text}})
    code = "context_length_exceeded" if reply.too_long else None
    return dump({"error": {"message": text, "type": kind, "param": "messages" if reply.too_long else None, "code": code}})


def error_event(seen, reply):
    kind, text = reply.error_event
    if seen.protocol == "anthropic":
        return sse({"type": "error", "error": {"type": kind, "message": text}}, "error")
    if seen.protocol == "responses":
        return sse({"type": "error", "code": kind, "message": text, "param": None, "sequence_number": 99}, "error")
    return sse({"error": {"message": text, "type": kind, "code": None}})


# --- whole answers


def whole(seen, reply):
    maker = {
        "anthropic": anthropic_message,
        "responses": lambda s, r: response(s, r, "completed"),
        "embeddings": embeddings,
        "completions": completion,
    }
    return dump(maker.get(seen.protocol, chat_completion)(seen, reply))


def events(seen, reply):
    """(opening, body, closing): each a list of bytes."""
    maker = {"anthropic": anthropic_events, "responses": response_events, "completions": completion_events}
    return maker.get(seen.protocol, chat_events)(seen, reply)


# --- OpenAI's chat completions

CHAT_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls", "filter": "content_filter"}


def chat_usage(reply):
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
    }


def chat_completion(seen, reply):
    message = {"role": "assistant", "content": reply.text or None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tools:
        message["tool_calls"] = [
            {"id": f"call_{index}", "type": "function", "function": {"name": tool[0], "arguments": arguments_of(tool)}}
            for index, tool in enumerate(reply.tools)
        ]
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": model_of(seen, reply),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": CHAT_FINISH[finish_of(reply)]}],
    }
    if reply.usage:
        answer["usage"] = chat_usage(reply)
    return answer


def chat_events(seen, reply):
    def chunk(delta, finish=None):
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return sse({**head, "choices": choices})

    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": model_of(seen, reply)}
    body = [chunk({"reasoning_content": piece}) for piece in pieces_of(reply.reasoning, 8)]
    body += [chunk({"content": piece}) for piece in reply.pieces]
    for index, tool in enumerate(reply.tools):
        function = {"name": tool[0], "arguments": ""}
        body.append(chunk({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}))
        for piece in pieces_of(arguments_of(tool), reply.tool_piece):
            body.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    closing = [chunk({}, CHAT_FINISH[finish_of(reply)])]
    if reply.usage and (seen.body.get("stream_options") or {}).get("include_usage"):
        closing.append(sse({**head, "choices": [], "usage": chat_usage(reply)}))
    return [chunk({"role": "assistant", "content": ""})], body, [*closing, sse(b"[DONE]")]


# --- OpenAI's older completions, and embeddings


def completion(seen, reply):
    choices = [{"index": 0, "text": reply.text, "logprobs": None, "finish_reason": CHAT_FINISH[finish_of(reply)]}]
    answer = {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": model_of(seen, reply), "choices": choices}
    return {**answer, "usage": chat_usage(reply)} if reply.usage else answer


def completion_events(seen, reply):
    def chunk(text, finish=None):
        return sse({**head, "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]})

    head = {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": model_of(seen, reply)}
    closing = [chunk("", CHAT_FINISH[finish_of(reply)])]
    if reply.usage and (seen.body.get("stream_options") or {}).get("include_usage"):
        closing.append(sse({**head, "choices": [], "usage": chat_usage(reply)}))
    return [], [chunk(piece) for piece in reply.pieces], [*closing, sse(b"[DONE]")]


def embeddings(seen, reply):
    given = seen.body.get("input", "")
    count = len(given) if isinstance(given, list) and (not given or not isinstance(given[0], int)) else 1
    rows = [
        {"object": "embedding", "index": row, "embedding": [float(row + column) for column in range(reply.dimensions)]}
        for row in range(count)
    ]
    usage = {"prompt_tokens": reply.prompt_tokens, "total_tokens": reply.prompt_tokens}
    return {"object": "list", "data": rows, "model": model_of(seen, reply), "usage": usage}


# --- OpenAI's responses


def response_usage(reply):
    return {
        "input_tokens": reply.prompt_tokens,
        "input_tokens_details": {"cached_tokens": reply.cached_tokens},
        "output_tokens": reply.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }


def response_items(reply):
    """The finished output, in order."""
    items = []
    if reply.reasoning:
        items.append({"id": "rs_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": reply.reasoning}]})
    if reply.text or not reply.tools:
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        items.append({"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    for index, tool in enumerate(reply.tools):
        call = {"id": f"fc_{index}", "type": "function_call", "call_id": f"call_{index}", "name": tool[0]}
        items.append({**call, "arguments": arguments_of(tool), "status": "completed"})
    return items


def response(seen, reply, status):
    finish = finish_of(reply)
    answer = {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": model_of(seen, reply),
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "usage": None,
    }
    if status == "completed":
        answer["output"] = response_items(reply)
        answer["usage"] = response_usage(reply) if reply.usage else None
        if finish in ("length", "filter"):
            answer["status"] = "incomplete"
            answer["incomplete_details"] = {"reason": "max_output_tokens" if finish == "length" else "content_filter"}
    return answer


def response_events(seen, reply):
    number = 0

    def event(kind, **fields):
        nonlocal number
        number += 1
        return sse({"type": kind, "sequence_number": number - 1, **fields}, kind)

    opening = [event(f"response.{name}", response=response(seen, reply, "in_progress")) for name in ("created", "in_progress")]
    body = []
    for at, item in enumerate(response_items(reply)):
        place = {"item_id": item["id"], "output_index": at}
        if item["type"] == "message":
            part, inside = item["content"][0], {**place, "content_index": 0}
            empty = {**part, "text": ""}
            body.append(event("response.output_item.added", output_index=at, item={**item, "status": "in_progress", "content": []}))
            body.append(event("response.content_part.added", **inside, part=empty))
            body += [event("response.output_text.delta", **inside, delta=piece, logprobs=[]) for piece in reply.pieces]
            body.append(event("response.output_text.done", **inside, text=reply.text, logprobs=[]))
            body.append(event("response.content_part.done", **inside, part=part))
        elif item["type"] == "reasoning":
            inside = {**place, "summary_index": 0}
            body.append(event("response.output_item.added", output_index=at, item={**item, "summary": []}))
            body.append(event("response.reasoning_summary_part.added", **inside, part={"type": "summary_text", "text": ""}))
            for piece in pieces_of(reply.reasoning, 8):
                body.append(event("response.reasoning_summary_text.delta", **inside, delta=piece))
            body.append(event("response.reasoning_summary_text.done", **inside, text=reply.reasoning))
        else:
            body.append(event("response.output_item.added", output_index=at, item={**item, "arguments": "", "status": "in_progress"}))
            for piece in pieces_of(item["arguments"], reply.tool_piece):
                body.append(event("response.function_call_arguments.delta", **place, delta=piece))
            body.append(event("response.function_call_arguments.done", **place, arguments=item["arguments"]))
        body.append(event("response.output_item.done", output_index=at, item=item))
    final = response(seen, reply, "completed")
    return opening, body, [event(f"response.{final['status']}", response=final)]


# --- Anthropic's messages

STOP_REASON = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filter": "refusal"}


def anthropic_usage(reply, output_tokens):
    """Its input_tokens are those that no cache had."""
    fresh = reply.prompt_tokens - reply.cached_tokens - reply.written_tokens
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": reply.written_tokens,
        "cache_read_input_tokens": reply.cached_tokens,
        "output_tokens": output_tokens,
    }


def anthropic_blocks(reply):
    blocks = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": reply.signature})
    if reply.text or not reply.tools:
        blocks.append({"type": "text", "text": reply.text})
    for index, tool in enumerate(reply.tools):
        arguments = json.loads(arguments_of(tool))
        blocks.append({"type": "tool_use", "id": f"call_{index}", "name": tool[0], "input": arguments})
    return blocks


def anthropic_message(seen, reply):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model_of(seen, reply),
        "content": anthropic_blocks(reply),
        "stop_reason": STOP_REASON[finish_of(reply)],
        "stop_sequence": None,
        "usage": anthropic_usage(reply, reply.completion_tokens),
    }


def anthropic_deltas(block, reply):
    """(the block as it begins, its deltas)"""
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces_of(reply.reasoning, 8)]
        deltas.append({"type": "signature_delta", "signature": reply.signature})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.pieces]
    pieces = ["", *pieces_of(json.dumps(block["input"]), reply.tool_piece)]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def anthropic_events(seen, reply):
    def event(kind, **fields):
        return sse({"type": kind, **fields}, kind)

    start = {**anthropic_message(seen, reply), "content": [], "stop_reason": None, "usage": anthropic_usage(reply, 1)}
    body = []
    for index, block in enumerate(anthropic_blocks(reply)):
        empty, deltas = anthropic_deltas(block, reply)
        body.append(event("content_block_start", index=index, content_block=empty))
        body += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        body.append(event("content_block_stop", index=index))
    ending = {"stop_reason": STOP_REASON[finish_of(reply)], "stop_sequence": None}
    closing = [event("message_delta", delta=ending, usage={"output_tokens": reply.completion_tokens}), event("message_stop")]
    return [event("message_start", message=start), event("ping")], body, closing

"""What a made-up model says, and the shapes it is said in."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

NANOSECOND = 1_000_000_000


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def tokens(model: str, prompt: str) -> list[str]:
    """Return the answer, the same for the same model and prompt."""
    return [f"{word} " for word in f"This is {model}, a stand-in. You said: {prompt}".split()]


def prompt_of(body: dict[str, Any]) -> str:
    """Return the text of a request: `prompt`, or the last message."""
    if "prompt" in body:
        return str(body["prompt"])
    messages = body.get("messages") or [{}]
    return str(messages[-1].get("content", ""))


def counts(prompt: str, count: int, started: float) -> dict[str, Any]:
    """Return the figures of the last line; durations in nanoseconds."""
    elapsed = int((time.monotonic() - started) * NANOSECOND)
    return {
        "done": True,
        "done_reason": "stop",
        "total_duration": elapsed,
        "load_duration": 1_000_000,
        "prompt_eval_count": len(prompt.split()),
        "prompt_eval_duration": 1_000_000,
        "eval_count": count,
        "eval_duration": max(elapsed, 1),
    }


def loaded(keep_alive: str | float | None) -> dict[str, Any]:
    """Return the end of an answer to an empty prompt: the model was only loaded, or unloaded."""
    return {"done": True, "done_reason": "unload" if keep_alive == 0 else "load"}


def piece(kind: str, model: str, text: str) -> dict[str, Any]:
    """Return one object of /api/chat or /api/generate without its end."""
    content = {"message": {"role": "assistant", "content": text}} if kind == "chat" else {"response": text}
    return {"model": model, "created_at": now(), **content, "done": False}


def openai_piece(model: str, text: str, *, last: bool) -> dict[str, Any]:
    """Return one event of a streamed /v1/chat/completions."""
    choice = {"index": 0, "delta": {} if last else {"role": "assistant", "content": text}}
    return {
        "id": "chatcmpl-standin",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": [{**choice, "finish_reason": "stop" if last else None}],
    }


def openai_whole(model: str, text: str, prompt: str) -> dict[str, Any]:
    """Return the answer of /v1/chat/completions in one piece."""
    used = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-standin",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {**used, "total_tokens": sum(used.values())},
    }

"""What a made-up model says, and the shapes it is said in."""

from __future__ import annotations

import time
from typing import Any


def tokens(model: str, prompt: str) -> list[str]:
    """Return the answer, the same for the same model and prompt."""
    return [f"{word} " for word in f"This is {model}, a stand-in. You said: {prompt}".split()]


def prompt_of(body: dict[str, Any]) -> str:
    """Return the text of a request: `prompt`, or the last message."""
    if "prompt" in body:
        return str(body["prompt"])
    messages = body.get("messages") or [{}]
    return str(messages[-1].get("content", ""))


def end(prompt: str, count: int) -> dict[str, Any]:
    """Return the end of an answer. An empty prompt has only loaded or unloaded the model."""
    return {"done": True, "done_reason": "stop" if prompt else "load", "eval_count": count}


def piece(kind: str, model: str, text: str) -> dict[str, Any]:
    """Return one object of /api/chat or /api/generate without its end."""
    content = {"message": {"role": "assistant", "content": text}} if kind == "chat" else {"response": text}
    return {"model": model, **content, "done": False}


def openai(model: str, text: str) -> dict[str, Any]:
    """Return the answer of /v1/chat/completions in one piece."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-standin",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }

#!/usr/bin/env python3
"""A made-up `llama-server`, the process Ollama starts for each model: it repeats the last question."""

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

# An answer has a pace: a gateway that holds a stream back shall be seen.
TOKENS_PER_S = 400
MIB = 1 << 20
# What the made-up models' template makes of a conversation: its tools, if any, and its messages.
PART = re.compile(r"<\|(\w+)\|>(.*?)<\|end\|>", re.DOTALL)
# Tokens are words, numbered as they are met.
NUMBERS: dict[str, int] = {}


def tokens(text: str) -> list[int]:
    """Return the numbers of a text's words."""
    return [NUMBERS.setdefault(word, len(NUMBERS)) for word in re.findall(r"\s*\S+", text)]


def words(numbers: list[int]) -> list[str]:
    """Return the words of numbers."""
    known = list(NUMBERS)
    return [known[number] for number in numbers]


def answer(prompt: str) -> str:
    """Return what the model says: a call of the first tool a user offers, else what was said last."""
    parts = PART.findall(prompt) or [("user", prompt)]
    (first, tools), (role, said) = parts[0], parts[-1]
    if (first, role) == ("tools", "user"):
        return json.dumps({"name": json.loads(tools)[0]["function"]["name"], "parameters": {}})
    return f"I have no weights. You said: {said}"


class Handler(BaseHTTPRequestHandler):
    """The part of llama-server's interface that Ollama uses for a model with a template of its own."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: Ollama reads the log for errors."""

    def reply(self, body: dict[str, Any], status: int = 200) -> None:
        """Send a JSON object."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """Answer /health: who listens has loaded its model."""
        self.reply({"status": "ok"})

    def do_POST(self) -> None:
        """Answer the other requests."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self.reply({"tokens": tokens(body["content"])})
        elif self.path == "/detokenize":
            self.reply({"content": "".join(words(body["tokens"]))})
        elif self.path == "/v1/embeddings":
            numbers = tokens(body["input"])
            vector = [float(number % 7 + 1) for number in [*numbers, *range(8)][:8]]
            self.reply({"data": [{"embedding": vector}], "usage": {"prompt_tokens": len(numbers)}})
        elif self.path == "/completion":
            self.complete(body)
        else:
            self.reply({"error": {"message": f"the lab's runner has no {self.path}"}}, 501)

    def complete(self, body: dict[str, Any]) -> None:
        """Stream an answer, chunk by chunk: when this process dies, Ollama sees that it has no end."""
        prompt = body["prompt"]
        if isinstance(prompt, dict):  # with images
            prompt = prompt["prompt_string"]
        text = prompt if isinstance(prompt, str) else "".join(words(prompt))
        said, limit = words(tokens(answer(text))), body.get("n_predict", -1)
        kept = said[:limit] if limit > 0 else said
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        began = time.monotonic()
        for word in kept:
            self.event({"content": word, "stop": False})
            time.sleep(1 / TOKENS_PER_S)
        took = {"prompt_n": len(tokens(text)), "prompt_ms": 1, "predicted_n": len(kept)}
        took["predicted_ms"] = int(1000 * (time.monotonic() - began))
        kind = "eos" if len(kept) == len(said) else "limit"
        self.event({"content": "", "stop": True, "stop_type": kind, "timings": took})
        self.wfile.write(b"0\r\n\r\n")

    def event(self, event: dict[str, Any]) -> None:
        """Send one event."""
        line = b"data: " + json.dumps(event).encode() + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


def main(arguments: list[str]) -> None:
    """Tell of the devices, which are none, or load a model and serve it."""
    if "--list-devices" in arguments:
        print("Available devices:\n  ")
    elif "--model" not in arguments:
        print("system_info: made up", file=sys.stderr)
    else:
        options = dict(pairwise(arguments))
        size, context = Path(options["--model"]).stat().st_size, int(options["-c"])
        print(
            f"load_tensors: CPU_Mapped model buffer size = {size / MIB:.2f} MiB\n"
            f"llama_kv_cache: CPU KV buffer size = {context / 64:.2f} MiB",
            flush=True,
        )
        ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])

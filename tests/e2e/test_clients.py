"""Clients that people already use need the gateway's address and a key, and nothing else."""

import base64
import json
import os
import re
import subprocess
from pathlib import Path

import ollama
import openai
import pictures
import pytest
import site_under_test as site
from tables import cases

PIXEL = base64.b64encode(pictures.PIXEL).decode()
SCRIPT = Path(__file__).parent / "clients" / "clients.mjs"
HELLO = [{"role": "user", "content": "hello"}]
ANSWER = "I have no weights. You said: hello"
EMBEDDER, SEES = "nomic-embed-text", "gemma3:12b"
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": WEATHER}
# Nine seconds at the pace of the lab's models; Ollama ends an answer that repeats itself.
LONG = [{"role": "user", "content": " ".join(map(hex, range(3500)))}]


@pytest.fixture(scope="module")
def by_openai(gateway_url, api_key) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway_url}/v1", api_key=api_key, max_retries=0)


@pytest.fixture(scope="module")
def by_ollama(gateway_url, api_key) -> ollama.Client:
    return ollama.Client(host=gateway_url, headers={"Authorization": f"Bearer {api_key}"})


def test_openai_lists_chats_streams_completes_and_embeds(by_openai):
    assert {"chat", "code", EMBEDDER} <= {model.id for model in by_openai.models.list()}
    assert by_openai.models.retrieve("chat").id == "chat"
    chat = by_openai.chat.completions
    assert chat.create(model="chat", messages=HELLO).choices[0].message.content == ANSWER
    stream = chat.create(model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].usage.completion_tokens > 0
    assert by_openai.completions.create(model="code", prompt="hello").choices[0].text == ANSWER
    assert len(by_openai.embeddings.create(model=EMBEDDER, input=["one", "two"]).data) == 2


def test_openai_offers_tools_and_shows_images(by_openai):
    called = by_openai.chat.completions.create(model="chat", messages=HELLO, tools=[TOOL]).choices[0]
    assert (called.finish_reason, called.message.tool_calls[0].function.name) == ("tool_calls", "weather")
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    shown = [{"role": "user", "content": [{"type": "text", "text": "what is it"}, image]}]
    seen = by_openai.chat.completions.create(model=SEES, messages=shown)
    assert "what is it" in seen.choices[0].message.content


def test_openai_raises_its_own_errors(by_openai):
    with pytest.raises(openai.NotFoundError, match="There are: chat, code") as unknown:
        by_openai.chat.completions.create(model="nope", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError, match="valid key"):
        by_openai.with_options(api_key="wrong").models.list()


def test_ollama_lists_shows_chats_generates_and_embeds(by_ollama):
    assert "chat:latest" in {model.model for model in by_ollama.list().models}
    assert "tools" in by_ollama.show("chat").capabilities
    assert by_ollama.chat("chat", messages=HELLO).message.content == ANSWER
    parts = [part.message.content for part in by_ollama.chat("chat", messages=HELLO, stream=True)]
    assert len(parts) > 2 and "".join(parts) == ANSWER
    assert by_ollama.generate("chat", "hello").response == ANSWER
    assert len(by_ollama.embed(EMBEDDER, ["one", "two"]).embeddings) == 2
    assert by_ollama.ps().models
    called = by_ollama.chat("chat", messages=HELLO, tools=[TOOL]).message.tool_calls[0]
    assert called.function.name == "weather"
    shown = [{"role": "user", "content": "what is it", "images": [PIXEL]}]
    assert "what is it" in by_ollama.chat(SEES, messages=shown).message.content


@cases("change", {
    "pull": lambda client: client.pull("phi3"),
    "push": lambda client: client.push("phi3"),
    "create": lambda client: client.create("mine", from_="chat"),
    "copy": lambda client: client.copy("chat", "mine"),
    "delete": lambda client: client.delete("chat"),
})  # fmt: skip
def test_ollama_changes_no_node(by_ollama, change):
    with pytest.raises(ollama.ResponseError, match="There is no") as refused:
        change(by_ollama)
    assert refused.value.status_code == 404


def test_a_cancelled_answer_is_not_written_to_its_end(by_openai):
    raw = by_openai.chat.completions.with_raw_response.create(model="chat", messages=LONG, stream=True)
    node = site.node(raw.headers["X-AI-Node"])
    stream = raw.parse()
    next(iter(stream))
    since = site.shell(node, "date --utc +%FT%T.%NZ").strip()
    stream.close()
    logs = f"{site.COMPOSE} logs --no-log-prefix --since {since} ollama"
    ended = re.compile(r'\[GIN\] .*"/v1/chat/completions"')
    site.wait_until(lambda: ended.search(site.shell(node, logs)), 4, "the node writes on", 0.2)


@pytest.mark.full
def test_the_javascript_clients_get_the_same(gateway_url, api_key, tmp_path):
    for name in ("package.json", "package-lock.json", SCRIPT.name):
        (tmp_path / name).write_bytes((SCRIPT.parent / name).read_bytes())
    subprocess.run(["npm", "ci", "--silent", "--no-audit"], cwd=tmp_path, check=True)
    environment = {**os.environ, "GATEWAY": gateway_url, "KEY": api_key}
    said = subprocess.run(
        ["node", SCRIPT.name], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert json.loads(said.stdout) == {
        "openai": [ANSWER, ANSWER, 8, [404, "model_not_found"], [401, "invalid_api_key"]],
        "ollama": [ANSWER, ANSWER, 8, [404]],
    }

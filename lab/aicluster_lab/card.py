"""The card: where the lab is, how to get in, what to try."""

import json
import shlex
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from .errors import LabError
from .sitedata import Site

CHAT_PATH = "/api/v1/chat"
CHAT_TIMEOUT_S = 60
PATIENCE_S = 20
QUESTION = {"messages": [{"role": "user", "content": "hello"}], "stream": False}
Card = dict[str, Any]
"""Content of .lab/card.json."""


def make_card(site: Site, secrets: dict[str, str]) -> Card:
    """Put together what a user or a test needs to use the lab."""
    return {
        "gateway_url": site.gateway_url,
        "api_key": secrets.get("kong_api_key", ""),
        "ssh_key": str(site.private_key),
        "subnet": str(site.network),
        "nodes": {node.name: str(node.address) for node in site.nodes},
    }


def card_text(card: Card, state: Path) -> str:
    """The card for the eye."""
    nodes = "\n".join(f"    {name:<6} {address}" for name, address in card["nodes"].items())
    some_node, some_address = next(iter(card["nodes"].items()))
    question = shlex.quote(json.dumps(QUESTION))
    known_hosts = Path(card["ssh_key"]).parent / "known_hosts"
    return f"""
  The lab
    gateway  {card["gateway_url"]}
    API key  {card["api_key"]}
    secrets  {state / "secrets.yml"}
    network  {card["subnet"]}
{nodes}

  Try
    curl --noproxy '*' -sS {card["gateway_url"]}{CHAT_PATH} -H 'apikey: {card["api_key"]}' \\
         -H 'Content-Type: application/json' -d {question}
    ssh -i {card["ssh_key"]} -o IdentitiesOnly=yes -o UserKnownHostsFile={known_hosts} \\
        ansible@{some_address}    # {some_node}
    make lab-status | make lab-down
"""


def first_chat(card: Card) -> tuple[str, str]:
    """Ask the gateway one question, for PATIENCE_S seconds. Returns the node that answered and its words."""
    request = urllib.request.Request(
        card["gateway_url"] + CHAT_PATH,
        data=json.dumps(QUESTION).encode(),
        headers={"Content-Type": "application/json", "apikey": card["api_key"]},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with opener.open(request, timeout=CHAT_TIMEOUT_S) as answer:
                words = str(json.load(answer)["message"]["content"])
                return str(answer.headers.get("X-AI-Node", "unknown")), words
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}: {error.read(400).decode(errors='replace').strip()}"
        except OSError as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise LabError(f"The gateway {request.full_url} does not answer a chat request: {problem}")
        time.sleep(1)

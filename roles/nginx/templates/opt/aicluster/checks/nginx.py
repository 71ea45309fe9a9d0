"""nginx answers, and what is behind it: Kong's AI nodes, the edge, its own model, or a node's pages."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Sequence, Tuple

from aicluster_verify import Answer, CheckError, Kit, Seen, certificate_days, lasting, possible_causes

FLOWS = {
    "chat": "through the ingress, with a key; the portal shows its page and the states of services",
    "edge fallback": "the gateway sends a request to the edge as without AI nodes; the edge's model answers",
}
# On a portal: node, service, path and what is said of a page behind the same nginx.
LINK = re.compile(
    r'data-node="([^"]+)" data-service="(\w+)">(?:(?!</li>).)*?<a href="(/[^"]*)"(.*?)</li>', re.DOTALL
)
UNAUTHORIZED, AWAY = 401, 500
# The names of the certificate, and the file of those that are trusted.
WANTED = os.path.splitext(__file__)[0] + ".json"
# The certificate of public names, and what renews it.
ACME, UNIT = "/opt/aicluster/nginx/secrets/acme.pem", "aicluster-acme.service"
# What certbot says of a failure; advice follows.
TROUBLE = re.compile("Detail:|[Ee]rror")
ASK = (b"GET /healthz/nginx HTTP/1.0\r\n\r\n", b" 200 ")


def check(kit: Kit) -> Seen:
    """Ask for what nginx serves on this node, then look at its certificates."""
    seen, port = without_tls(kit), kit.services["nginx"]["ports"].get("https", {})
    if not port.get("published"):
        return seen
    with open(WANTED) as handle:
        wanted = json.load(handle)
    where = port["published"], port["port"]  # type: Tuple[str, int]
    warning = of_public_names(kit, where, wanted) if wanted["public"] else ""
    return lasting((seen, warning) if warning else seen, days_left(*where, wanted))


def of_public_names(kit: Kit, where: Tuple[str, int], wanted: Dict[str, Any]) -> str:
    """Return why the ACME server's certificate is not renewed, if so; CheckError if a name has none."""
    state = kit.run(["systemctl", "show", "--property", "ActiveState", UNIT]).strip().partition("=")[2]
    journal = ["journalctl", "_SYSTEMD_UNIT=" + UNIT, "--lines", "30", "--output", "cat", "--no-pager"]
    lines = kit.run(journal).strip().splitlines()[::-1] or ["nothing yet"]
    said = next(filter(TROUBLE.search, lines), lines[0]).strip()[:400]
    for name in wanted["public"]:
        try:
            certificate_days(where, name, ACME, ask=ASK)
        except OSError as error:
            found = "https://%s has no certificate of %s: %s; %s" % (name, wanted["server"], error, said)
            raise CheckError(found, "sudo journalctl --lines 30 --unit " + UNIT) from None
    return "the last renewal by %s failed: %s" % (wanted["server"], said) if state == "failed" else ""


def days_left(address: str, port: int, wanted: Dict[str, Any]) -> int:
    """Return for how many days the certificate is valid; CheckError if it is for no name or not trusted."""
    failures = []
    for name in [*wanted["names"], address]:
        try:
            return certificate_days((address, port), name, wanted["trusted"], ask=ASK)
        except OSError as error:
            failures.append("https://%s:%d as %s: %s" % (address, port, name, error))
    look = "openssl s_client -connect %s:%d </dev/null | openssl x509 -noout -text" % (address, port)
    raise CheckError(failures[0], look)


def without_tls(kit: Kit) -> str:
    """Ask for what nginx serves on this node."""
    with possible_causes(["kong on " + kit.node]):
        kit.expect(kit.url("nginx", "http", "/healthz"))
    if "kong" in kit.services:
        return through_the_gateway(kit)
    [tier] = [node["tier"] for node in kit.cluster if node["name"] == kit.node]
    return on_the_edge(kit) if tier == "edge" and "ollama" in kit.services else of_the_node(kit)


def ask(kit: Kit, url: str, headers: Dict[str, str], models: Sequence[str], content: str) -> Answer:
    """Return the answer to a short chat; raise CheckError when it is none.

    `models`: each `ollama on NODE` that may be why it takes too long.
    """
    limit_s = kit.left()
    question: Dict[str, Any] = {
        "model": "chat",
        "messages": [{"role": "user", "content": content}],
        "stream": False,
        "options": {"num_predict": 1},
    }
    try:
        answer = kit.expect(url, method="POST", data=question, headers=headers, timeout=limit_s)
    except CheckError as failure:
        if "timed out" not in failure.evidence:
            raise
        raise CheckError(
            "no answer to a chat within %d s; a model that is not in memory may need longer" % limit_s,
            "sudo docker compose --project-directory /opt/aicluster logs --tail 5 nginx",
            models,
        ) from None
    said = answer.json()
    message = said.get("message") if isinstance(said, dict) else None
    if not isinstance(message, dict) or message.get("role") != "assistant":
        raise CheckError("a chat is answered without a message of the assistant: %s" % answer.text[:200])
    if not answer.headers.get("X-AI-Node"):
        raise CheckError("an answer names no node: X-AI-Node is missing")
    return answer


def edges(kit: Kit) -> List[Tuple[str, str]]:
    """Return (name, URL of a chat) of the nodes that answer when no AI node does."""
    return [
        (
            node["name"],
            "http://%s:%d/api/chat" % (node["address"], node["services"]["nginx"]["ports"]["http"]),
        )
        for node in kit.cluster
        if node["tier"] == "edge" and {"nginx", "ollama"} <= set(node["services"])
    ]


def edge_answers(kit: Kit, name: str, url: str) -> None:
    """Raise CheckError unless an edge node answers a chat."""
    try:
        with possible_causes(["nginx on " + name]):
            ask(kit, url, {}, ["ollama on " + name], "Say yes.")
    except CheckError as failure:
        seen = "%s would not answer when no AI node does: %s" % (name, failure.evidence)
        raise CheckError(seen, caused_by=failure.caused_by) from None


def through_the_gateway(kit: Kit) -> str:
    """Chat as a client does, with a client's key; then see that the edge would answer in their place."""
    page = kit.expect(kit.url("nginx", "http", "/"))
    if "portal.js" not in page.text:
        raise CheckError("its page is not the portal: %s" % page.text[:100])
    opened(kit, page.text)
    with possible_causes(kit.hosts("prometheus")[:1]):
        kit.expect(kit.url("nginx", "http", "/portal/health"))
    headers = {"apikey": kit.secret("kong", "api_key")}
    url = kit.url("nginx", "http", "/api/v1/chat")
    # Side by side: each may have a model to load.
    with ThreadPoolExecutor(max_workers=len(kit.cluster)) as pool:
        fallbacks = [(name, pool.submit(edge_answers, kit, name, edge)) for name, edge in edges(kit)]
        with possible_causes(["kong on " + kit.node]):
            answer = ask(kit, url, headers, kit.hosts("ollama"), "Say yes.")
    fallback = answer.headers.get("X-AI-Fallback")
    if fallback:
        return "the portal and its states; a chat is answered by %s because no AI node does" % fallback
    seen = "the portal and its states; a chat is answered by %s" % answer.headers["X-AI-Node"]
    for name, answered in fallbacks:
        answered.result()
        seen += "; %s would if no AI node did" % name
    return seen


def opened(kit: Kit, portal: str) -> List[str]:
    """Open each page that a portal lists behind its nginx, which asks for a key where it says so."""
    listed = LINK.findall(portal)
    for node, service, path, said in listed:
        answer = kit.http(kit.url("nginx", "http", path))
        if "asks for" in said and answer.status != UNAUTHORIZED:
            raise CheckError("%s: answered %d without a key instead of 401" % (path, answer.status))
        if answer.status >= AWAY:
            raise CheckError(
                "%s: answered %d: %s" % (path, answer.status, answer.text.strip()[:300]),
                "sudo /opt/aicluster/bin/aicluster_verify.py %s" % service,
                caused_by=["%s on %s" % (service, node)],
            )
    return [path for _node, _service, path, _said in listed]


def of_the_node(kit: Kit) -> str:
    """Open each page behind the node's nginx."""
    listed = opened(kit, kit.expect(kit.url("nginx", "http", "/")).text)
    return "/healthz and the node's page answer%s" % "".join(", %s" % path for path in listed)


def on_the_edge(kit: Kit) -> str:
    """Ask a new question twice: the model answers, then the cache; and nothing but inference gets through."""
    content = "Say yes to verify run %s." % kit.run_id
    url = kit.url("nginx", "http", "/api/chat")
    model = ["ollama on " + kit.node]
    sources = [ask(kit, url, {}, model, content).headers.get("X-Cache-Status") for _ in range(2)]
    if sources[1] != "HIT":
        raise CheckError(
            "a question asked again is not answered from the cache (%s)" % ", then ".join(map(str, sources))
        )
    kit.expect(kit.url("nginx", "http", "/api/tags"), status=404)
    return "/healthz; a chat is answered by the model, then from the cache"

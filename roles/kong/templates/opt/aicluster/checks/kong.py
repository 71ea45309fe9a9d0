"""Kong has its configuration, reaches the nodes of each route, and refuses requests without a key."""

import json
import os
import re
import time
import uuid
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union, cast

from aicluster_kong_targets import stuck
from aicluster_verify import Answer, CheckError, Kit

FLOWS = {
    "code": "through the gateway, with a key; requests count against their limit",
    "image": "through the gateway: ComfyUI shows its queue and refuses an empty graph",
    "code quality": "through the gateway: SonarQube reports that it is up",
    "data": "an exchange is stored, shown to its user, and deleted",
}
UPSTREAM = "ai-chat"
# `nodes`: what the gateway's table says of each AI node, {node, url, models: name -> what it can do}.
# `stored`: whether exchanges are; `drained`: nodes that get no requests. The rest: aicluster_kong_targets.py.
WANTED = os.path.splitext(__file__)[0] + ".json"
ABILITIES = {"embedding", "thinking", "tools", "vision"}
OK, BAD_REQUEST, UNAUTHORIZED, NOT_FOUND = 200, 400, 401, 404
EMPTY = "0" * 32  # the hash of a Kong that never loaded a configuration


STATE = r'^aicluster_service_state{name="%s",state="(\w+)"} 1(?:\.0)?$'
SEEN, NOW = "aicluster_containers_seen_timestamp_seconds", "node_time_seconds"
# A node looks at its services every half minute, or as often as its inventory says.
LOOKS_WITHIN_S = 60
# Kong's probes see that a service is there again.
PROBED_WITHIN_S = 20
# A single request may pass uncounted: Redis has a fifth of a second.
COUNTING_LIMIT_S = 5
# Kong tries again at least every ten seconds.
STORED_WITHIN_S = 15
CODE: Dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say yes."}],
    "stream": False,
    "options": {"num_predict": 1},
}


def wanted() -> Dict[str, Any]:
    """Return what the site says of the gateway."""
    with open(WANTED) as handle:
        return cast("Dict[str, Any]", json.load(handle))


def sample(metrics: str, name: str) -> float:
    """Return the value of a metric without labels, 0 if it is not among these."""
    found = re.search("^%s (.+)$" % name, metrics, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def state_of(kit: Kit, service: str, address: str, began: float) -> str:
    """Return a service's state as its node reports it: healthy, inactive, starting or failed.

    "" while the node has not looked since this check `began`; `unknown` where it tells nothing at all.
    """
    node = next((node for node in kit.cluster if node["address"] == address), None)
    if node is None or "node_exporter" not in node["services"]:
        return "unknown"
    port = node["services"]["node_exporter"]["ports"]["metrics"]
    try:
        metrics = kit.http("http://%s:%d/metrics" % (address, port)).text
    except CheckError:
        return "unknown"
    found = re.search(STATE % service, metrics, re.MULTILINE)
    state = found.group(1) if found else "unknown"
    # Both by the clock of the node.
    began_there = sample(metrics, NOW) - (time.monotonic() - began)
    return state if state == "inactive" or sample(metrics, SEEN) >= began_there else ""


def hopeless(states: Iterable[str], began: float) -> bool:
    """Tell whether services of these states stay out of reach, however long one waits."""
    told = set(states)
    probed = time.monotonic() > began + PROBED_WITHIN_S
    return "" not in told and (probed or not told & {"healthy", "starting"})


def ask(
    kit: Kit, path: str, data: Any = None, timeout: float = 10, method: str = "", conversation: str = ""
) -> Answer:
    """Ask as a client does, with its key; a body makes it a POST."""
    headers = {"apikey": kit.secret("kong", "api_key")}
    if conversation:
        headers["X-Conversation-Id"] = conversation
    method = method or ("GET" if data is None else "POST")
    return kit.http(kit.url("kong", "proxy", path), method, data, headers, timeout)


def require_counting(kit: Kit) -> None:
    """Raise CheckError if requests are not counted: then Kong tells no limit, and lets everything through."""
    try:
        kit.wait(
            COUNTING_LIMIT_S,
            lambda: ask(kit, "/v1/models").headers.get("RateLimit-Limit"),
            "requests with a key are not counted, so no rate limit holds",
        )
    except CheckError as failure:
        raise CheckError(failure.evidence, failure.next_command, kit.hosts("redis")[:1]) from None


def code(kit: Kit, nodes: Sequence[str]) -> str:
    """Ask for code, as short as can be; one of these nodes answers, and may have to load its model first."""
    limit_s, conversation = kit.left(), str(uuid.uuid5(uuid.NAMESPACE_URL, kit.run_id))
    try:
        answer = ask(kit, "/api/v1/code", CODE, limit_s, conversation=conversation)
    except CheckError as failure:
        if "timed out" not in failure.evidence:
            raise
        raise CheckError(
            "no answer to a request for code within %d s; a model that is not in memory may need longer"
            % limit_s,
            caused_by=["ollama on " + node for node in nodes],
        ) from None
    node = answer.headers.get("X-AI-Node", "a node without a name")
    if answer.status != OK or not answer.json().get("message"):
        raise CheckError(
            "a request for code is answered %d: %s" % (answer.status, answer.text.strip()[:200]),
            caused_by=["ollama on " + name for name in nodes if name == node],
        )
    return "code answered by " + node + stored(kit, conversation)


def stored(kit: Kit, conversation: str) -> str:
    """Find an exchange in the database and delete it; "" where nothing is stored."""
    if not wanted()["stored"]:
        return ""
    path, said = "/api/v1/history/" + conversation, []  # type: Tuple[str, List[str]]

    def found() -> bool:
        answer = ask(kit, path)
        said.append("%d %s" % (answer.status, answer.text.strip()[:200]))
        return answer.status == OK

    try:
        kit.wait(STORED_WITHIN_S, found, "an exchange was not stored")
    except CheckError as failure:
        evidence = failure.evidence + (": " + said[-1] if said else "")
        raise CheckError(evidence, failure.next_command, kit.hosts("postgrest")[:1]) from None
    if ask(kit, path, method="DELETE").status != OK or ask(kit, path).status != NOT_FOUND:
        raise CheckError("conversation %s cannot be deleted" % conversation)
    return ", stored and deleted"


def image(kit: Kit) -> str:
    """See the queue, and hand in a graph that ComfyUI refuses because it shows nothing: no job is left."""
    queue = ask(kit, "/api/v1/image/queue")
    if queue.status != OK:
        return "the queue of images answers %d" % queue.status
    refused = ask(kit, "/api/v1/image", {"prompt": {}})
    if refused.status != BAD_REQUEST or "prompt_no_outputs" not in refused.text:
        return "an empty graph is answered %d: %s" % (refused.status, refused.text.strip()[:100])
    return ""


def quality(kit: Kit) -> str:
    """See SonarQube through the gateway."""
    answer = ask(kit, "/api/v1/code/quality/api/system/status")
    try:
        status = json.loads(answer.text).get("status") if answer.status == OK else None
    except (ValueError, AttributeError):
        status = None
    return "" if status == "UP" else "code quality answers %d, status %s" % (answer.status, status)


WAYS = {"image": ("comfyui", image), "code quality": ("sonarqube", quality)}


def way(kit: Kit, name: str, began: float) -> Optional[str]:
    """Return what was seen of a way in, None if nobody is behind it; raise CheckError if it leads nowhere.

    `began`: when this check did.
    """
    service, problem_of = WAYS[name]
    hosts = [node["address"] for node in kit.cluster if service in node["services"]]
    if not hosts:
        return None
    problem = ""

    def settled() -> str:
        nonlocal problem
        problem = problem_of(kit)
        if not problem:
            return name
        states = {state_of(kit, service, host, began) for host in hosts}
        if states == {"inactive"}:
            return name + " inactive"
        if hopeless(states, began):
            raise CheckError(problem)
        return ""

    try:
        return kit.wait(LOOKS_WITHIN_S, settled, name)
    except CheckError as failure:
        # Without an answer at all, the failure itself is the evidence.
        raise CheckError(problem or failure.evidence, failure.next_command, kit.hosts(service)) from None


def reached(kit: Kit, balanced: Mapping[str, str], began: float) -> List[str]:
    """Return the AI nodes Kong gives chats to; raise CheckError if an active one is missing.

    `balanced`: target of Kong -> node; `began`: when this check did.
    """
    url = kit.url("kong", "status", "/upstreams/%s/health" % UPSTREAM)

    def settled() -> List[str]:
        targets = {target["target"]: target for target in kit.expect(url).json()["data"]}
        unknown = [name for target, name in balanced.items() if target not in targets]
        if unknown:
            raise CheckError("Kong does not know %s" % " and ".join(unknown), "ansible-playbook site.yml")
        used = [name for name, target in targets.items() if target["weight"]]
        healthy = [name for name in used if targets[name]["health"] == "HEALTHY"]
        states = {
            name: state_of(kit, "ollama", name.partition(":")[0], began)
            for name in used
            if name not in healthy
        }
        missed = [name for name, state in states.items() if not healthy or state != "inactive"]
        if missed and hopeless([states[name] for name in missed], began):
            said = [
                "%s (%s) is %s"
                % (balanced.get(name, "a node of no inventory"), name, targets[name]["health"])
                for name in missed
            ]
            causes = ["ollama on " + balanced[name] for name in missed if name in balanced]
            raise CheckError("for Kong %s" % ", ".join(said), "curl -s %s" % url, causes)
        return [] if missed else [balanced[name] for name in healthy if name in balanced]

    return kit.wait(LOOKS_WITHIN_S, settled, "no AI node reports whether its Ollama is inactive")


def chatting(kit: Kit, began: float) -> str:
    """Return which AI nodes chats reach, and who writes code; "" if there is no AI node."""
    balanced = {
        "%s:%d" % (node["address"], node["services"]["ollama"]["ports"]["api"]): node["name"]
        for node in kit.cluster
        if "ollama" in node["services"] and node["balanced"]
    }
    if not balanced:
        return ""
    at_work = reached(kit, balanced, began)
    refused = kit.http(kit.url("kong", "proxy", "/api/v1/chat"), method="POST", data={})
    if refused.status != UNAUTHORIZED:
        raise CheckError("a chat without a key is answered with %d instead of 401" % refused.status)
    require_counting(kit)
    return "%s healthy, no key no answer, requests counted, %s" % (" and ".join(at_work), code(kit, at_work))


def differences(kit: Kit) -> str:
    """Return where the gateway's table and the models of a node differ; a silent node is skipped."""
    found = []
    for entry in wanted()["nodes"]:
        try:
            listed = kit.expect(entry["url"]).json()["models"]
        except CheckError:
            continue
        can = {model["name"].lower(): ABILITIES.intersection(model["capabilities"]) for model in listed}
        for name, declared in sorted(entry["models"].items()):
            if name not in can:
                found.append("%s has no %s" % (entry["node"], name))
            elif can[name] != set(declared):
                real = ", ".join(sorted(can[name])) or "nothing of it"
                found.append("%s on %s can %s" % (name, entry["node"], real))
    return "the gateway's table differs: %s; correct kong_models" % "; ".join(found) if found else ""


def check(kit: Kit) -> Union[str, Tuple[str, str]]:
    """Ask for readiness, configuration, health of the upstream, and every way in but the chat with a key."""
    # What Kong and the nodes said before may be older than the last change.
    began = time.monotonic()
    kit.expect(kit.url("kong", "status", "/status/ready"))
    loaded = kit.expect(kit.url("kong", "status", "/status")).json().get("configuration_hash", EMPTY)
    if loaded == EMPTY:
        raise CheckError("Kong runs without a configuration")
    for upstream, target in stuck(kit, wanted()):
        raise CheckError(
            "%s answers, but Kong calls it unhealthy in %s and sends it nothing" % (target, upstream),
            "sudo systemctl start aicluster-kong-targets",
        )
    # First what answers at once: a model for code may take all the time that is left.
    ways = [found for found in (way(kit, name, began) for name in WAYS) if found]
    seen = ", ".join(["configuration %s" % loaded[:8], chatting(kit, began) or "there is no AI node", *ways])
    drained = [
        "%s is drained; `make undrain NODE=%s` takes it in again" % (one, one) for one in wanted()["drained"]
    ]
    warning = "; ".join(filter(None, [differences(kit), *drained]))
    return (seen, warning) if warning else seen

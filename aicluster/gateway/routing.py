"""Which nodes can answer a request: the models they have, what those can do, and Kong's upstreams for them.

Source: `ollama_models`, `ollama_aliases` and `ollama_context_length` of each node, `kong_models` (what a
model can do, wherever it runs), and `cluster_nodes`. An upstream is a set of nodes; `offers_for` says which
set a request gets. roles/kong/files/route.lua is the same decision on the gateway; a test compares both.
"""

import hashlib
import json
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

from ..budget.models import GB, number, present
from ..models import normalise
from ..site.nodes import service_endpoints
from .weights import is_outside, upstream_weights

NEEDS = ("tools", "thinking", "vision")
"""What a request may need of a model."""
ABILITIES = (*NEEDS, "embedding")
DEFAULT_CONTEXT = 4096
"""Tokens where a node says nothing: the default of role ollama."""
HOME = "ai-chat"
"""The upstream of all nodes that share requests."""
PROBE = "/api/version"
PLAIN = frozenset((string.ascii_letters + string.digits + string.punctuation + " ").encode()) - {*b'"\\'}

Entry = Mapping[str, Any]
Offer = dict[str, Any]
Names = dict[str, list[Offer]]


def able(offer: Entry, needs: Iterable[str]) -> bool:
    """Tell whether a model can do all of this; one that `kong_models` does not know is taken at its word."""
    return not offer["known"] or all(offer.get(need) for need in needs)


def offers_for(
    offers: Sequence[Offer], needs: Collection[str] = (), tokens: float = 0, without: str | None = None
) -> list[Offer]:
    """Return the offers that a request is balanced over; an empty list if no model can do what it needs.

    Spare nodes count only where no other can. A request longer than every context goes to the longest ones.
    """
    can = [offer for offer in offers if able(offer, needs) and offer["node"] != without]
    found = [offer for offer in can if not offer["spare"]] or can
    long = min(tokens, max((offer["context"] for offer in found), default=0))
    return [offer for offer in found if offer["context"] >= long]


def names_of(endpoints: Sequence[Entry], variables: Mapping[str, Entry], models: object) -> Names:
    """Return name -> one offer per node that has it, aliases first; an offer is what a node has by that name.

    Offer: node, model (what answers there), shown (the name as declared), context (tokens it gets there),
    spare (asked when all others are away), edge (by nginx), known (to `kong_models`), size_gb, each ability.
    """
    about = {normalise(model["name"]): model for model in present(models)}
    found: Names = {}
    for endpoint in endpoints:
        own = variables[endpoint["host"]]
        sizes = {one["name"]: one.get("size_gb") for one in present(own.get("ollama_models"))}
        size_of = {normalise(name): size for name, size in sizes.items()}
        for shown, model in [*(own.get("ollama_aliases") or {}).items(), *zip(sizes, sizes, strict=True)]:
            can = about.get(normalise(model), {})
            limits = map(number, (own.get("ollama_context_length") or DEFAULT_CONTEXT, can.get("context")))
            offer = {
                "node": endpoint["node"], "model": model, "shown": shown, "spare": is_outside(endpoint),
                "context": int(min(limit for limit in limits if limit)), "edge": endpoint["edge"],
                "known": bool(can), "size_gb": number(size_of.get(normalise(model))) or 0,
                **{ability: True for ability in ABILITIES if can.get(ability)},
            }  # fmt: skip
            found.setdefault(normalise(shown), []).append(offer)
    return dict(sorted(found.items(), key=lambda item: all(one["shown"] == one["model"] for one in item[1])))


def node_sets(names: Names) -> list[tuple[str, ...]]:
    """Return every set of nodes that some request is balanced over."""
    needs = [needed for count in range(len(NEEDS) + 1) for needed in combinations(NEEDS, count)]
    found = set()
    for offers in names.values():
        tokens, gone = (
            {0, *(offer["context"] for offer in offers)},
            [None, *(offer["node"] for offer in offers)],
        )
        for request in product(needs, tokens, gone):
            found.add(tuple(offer["node"] for offer in offers_for(offers, *request)))
    return sorted(found - {()})


def weights_of(endpoints: Sequence[Entry], names: Collection[str]) -> dict[str, int]:
    """Return node -> weight in an upstream of these nodes; all are 0 where every one is drained.

    Nodes outside the balancing get one slot each.
    """
    weights = {one["node"]: int(not one["drained"]) for one in endpoints if one["node"] in names}
    inside = [
        {**one, "drained": one["drained"] or one["node"] not in names}
        for one in endpoints
        if not is_outside(one)
    ]
    if not all(one["drained"] for one in inside):
        weighed = upstream_weights(inside)
        weights |= {one["node"]: one["weight"] for one in weighed if one["node"] in names}
    return weights


def endpoints_of(nodes: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return `service_endpoints` of Ollama as Kong reaches them, each with `check`, the path of a probe.

    `edge`: whether nginx on the gateway asks it when no other node answers. Such a node's models are reached
    through its own nginx, which limits what is asked of them.
    """
    by_name = {node["name"]: node for node in nodes}
    found = []
    for endpoint in service_endpoints(nodes, "ollama", "api"):
        node, place = by_name[endpoint["node"]], {"check": PROBE, "edge": False}
        if node["tier"] == "edge" and "nginx" in node["services"] and node["share"] == 0:
            port = node["services"]["nginx"]["ports"]["http"]["port"]
            place = {"check": "/healthz", "edge": not node["drained"], "port": port}
        found.append({**endpoint, **place})
    return found


def tag(offers: Sequence[Offer]) -> dict[str, Any]:
    """Return a model as Ollama's `/api/tags` lists it: what its best node gives."""
    best = max(offers, key=lambda offer: offer["context"])
    name = best["shown"] if ":" in best["shown"].rsplit("/", 1)[-1] else f"{best['shown']}:latest"
    kind = "embedding" if best.get("embedding") else "completion"
    unknown = dict.fromkeys(("family", "parameter_size", "quantization_level"), "")
    return {
        "name": name,
        "model": name,
        "modified_at": "1970-01-01T00:00:00Z",
        "size": int(best["size_gb"] * GB),
        # Of no file, for nodes may have different builds: it tells entries apart.
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {**unknown, "context_length": best["context"]},
        "capabilities": [kind, *(need for need in NEEDS if best.get(need))],
    }


def lua(value: object) -> str:
    """Return an expression: of texts, numbers, booleans, None, lists, and mappings with texts as keys.

    Every byte that is no letter, digit or harmless sign is escaped: a text stays within its quotes and on its
    line, whatever it holds.
    """
    if isinstance(value, str):
        return '"' + "".join(chr(b) if b in PLAIN else f"\\{b:03}" for b in value.encode()) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{lua(str(key))}] = {lua(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return "nil" if value is None else json.dumps(value)


def table(names: Names, upstreams: Mapping[str, str], models: object) -> str:
    """Return the local variables that route.lua reads, as Lua."""
    shown = {name: offers[0]["shown"] for name, offers in names.items()}
    stands_in = {normalise(one["name"]): normalise(one.get("substitute") or "") for one in present(models)}
    embedding = (name for name, offers in names.items() if any(offer.get("embedding") for offer in offers))
    openai = {"object": "model", "created": 0, "owned_by": "library"}
    kept = ("node", "model", "context", "spare", "edge", "known", *NEEDS)
    values = {
        "NAMES": list(names),
        "SHOWN": shown,
        "OFFERS": {
            name: [{key: offer[key] for key in kept if offer.get(key)} for offer in offers]
            for name, offers in names.items()
        },
        "UPSTREAMS": upstreams,
        "SUBSTITUTES": {name: other for name, other in stands_in.items() if other in names},
        "EMBEDDER": next(embedding, None),
        # As JSON, to be put together for who asks.
        "OPENAI": {name: json.dumps({"id": one, **openai}) for name, one in shown.items()},
        "TAGS": {name: json.dumps(tag(offers)) for name, offers in names.items()},
    }
    return "".join(f"local {name} = {lua(value)}\n" for name, value in values.items())


def model_routing(nodes: Sequence[Entry], hostvars: Iterable[Entry], models: object) -> dict[str, Any]:
    """Return what Kong needs to send each request to nodes that can answer it.

    `nodes`: `cluster_nodes`; `hostvars`: variables of hosts; `models`: `kong_models`. Returned: upstreams
    [{name, check (path of the probe), targets [{node, address, port, weight}]}], the one of all balanced
    nodes first; retries (the largest weight); lua (the table as text for route.lua); checked (what `verify`
    compares: [{node, url, models: name -> abilities}] of nodes whose Ollama the gateway reaches). Without a
    balanced node all are empty.
    """
    endpoints = endpoints_of(nodes)
    home = tuple(one["node"] for one in endpoints if not is_outside(one))
    if not home:
        return {"upstreams": [], "retries": 0, "lua": "", "checked": []}
    names = names_of(endpoints, {str(one["inventory_hostname"]): one for one in hostvars}, models)
    upstreams = []
    for members in dict.fromkeys([home, *node_sets(names)]):
        weights = weights_of(endpoints, members)
        chosen = [one for one in endpoints if one["node"] in members]
        targets = [
            {**{key: one[key] for key in ("node", "address", "port")}, "weight": weights[one["node"]]}
            for one in chosen
        ]
        name = HOME if members == home else "ai." + ".".join(members).lower()
        upstreams.append({"name": name, "check": chosen[0]["check"], "targets": targets})
    checked = [
        {
            "node": one["node"],
            "url": f"http://{one['address']}:{one['port']}/api/tags",
            "models": {
                name: sorted(ability for ability in ABILITIES if offer.get(ability))
                for name, offers in names.items()
                for offer in offers
                if offer["node"] == one["node"] and offer["known"]
            },
        }
        for one in endpoints
        if one["check"] == PROBE
    ]
    by_nodes = {" ".join(target["node"] for target in one["targets"]): one["name"] for one in upstreams}
    return {
        "upstreams": upstreams,
        "retries": max(target["weight"] for one in upstreams for target in one["targets"]),
        "checked": checked,
        "lua": table(names, by_nodes, models),
    }

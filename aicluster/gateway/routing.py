# SPDX-License-Identifier: Apache-2.0
"""Which nodes can answer a request: the models they have, what those can do, and Kong's upstreams for them.

Source: `ollama_models`, `ollama_aliases` and `ollama_context_length` of each node, `kong_models` (what a
model can do, wherever it runs), and `cluster_nodes`. An upstream is a set of nodes; `offers_for` says which
set a request gets. roles/kong/files/route.lua is the same decision on the gateway; a test compares both.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from ..budget.models import GB, number, present
from ..models import normalise
from ..site.nodes import service_endpoints
from .lua import lua
from .weights import is_outside, upstream_weights

NEEDS = ("tools", "thinking", "vision")
"""What a request may need of a model."""
ABILITIES = (*NEEDS, "embedding")
DEFAULT_CONTEXT = 4096
"""Tokens where a node says nothing: the default of role ollama."""
HOME = "ai-chat"
"""The upstream of all nodes that share requests."""

Offer = dict[str, Any]
Names = dict[str, list[Offer]]


def able(offer: Mapping[str, Any], needs: Iterable[str]) -> bool:
    """Tell whether a model can do all of this; one that `kong_models` does not know is taken at its word."""
    return not offer["known"] or all(offer.get(need) for need in needs)


def offers_for(
    offers: Sequence[Offer], needs: Iterable[str] = (), tokens: float = 0, without: str | None = None
) -> list[Offer]:
    """Return the offers that a request is balanced over; an empty list if no model can do what it needs.

    Spare nodes count only where no other can. A request longer than every context goes to the longest ones.
    """
    needed = tuple(needs)
    can = [offer for offer in offers if able(offer, needed) and offer["node"] != without]
    found = [offer for offer in can if not offer["spare"]] or can
    long = min(tokens, max((offer["context"] for offer in found), default=0))
    return [offer for offer in found if offer["context"] >= long]


def described(models: object) -> dict[str, dict[str, Any]]:
    """Return `kong_models` by the name under which a server lists the model."""
    return {normalise(model["name"]): model for model in present(models)}


def names_of(
    endpoints: Sequence[Mapping[str, Any]], variables: Mapping[str, Mapping[str, Any]], models: object
) -> Names:
    """Return name -> one offer per node that has it, aliases first; an offer is what a node has by that name.

    Offer: node, model (what answers to the name there), shown (the name as declared), context (tokens it gets
    there), spare (asked when all others are away), edge (nginx does so), known (`kong_models` describes it),
    size_gb, and each ability it has.
    """
    about = described(models)
    found: Names = {}
    for listed in ("ollama_aliases", "ollama_models"):
        for endpoint in endpoints:
            own = variables[endpoint["host"]]
            here = {normalise(one["name"]): one for one in present(own.get("ollama_models"))}
            aliases = own.get("ollama_aliases") or {}
            models_here = {one["name"]: one["name"] for one in here.values()}
            for shown, model in (aliases if listed == "ollama_aliases" else models_here).items():
                known = about.get(normalise(model))
                limits = (own.get("ollama_context_length") or DEFAULT_CONTEXT, (known or {}).get("context"))
                offer = {
                    "node": endpoint["node"],
                    "model": model,
                    "shown": shown,
                    "context": int(min(limit for limit in map(number, limits) if limit)),
                    "spare": is_outside(endpoint),
                    "edge": endpoint["edge"],
                    "known": known is not None,
                    "size_gb": number(here.get(normalise(model), {}).get("size_gb")) or 0,
                    **{ability: True for ability in ABILITIES if (known or {}).get(ability)},
                }
                found.setdefault(normalise(shown), []).append(offer)
    order = [endpoint["node"] for endpoint in endpoints]
    return {name: sorted(offers, key=lambda one: order.index(one["node"])) for name, offers in found.items()}


def node_sets(names: Names) -> list[tuple[str, ...]]:
    """Return every set of nodes that some request is balanced over."""
    found: dict[tuple[str, ...], None] = {}
    for offers in names.values():
        lengths = {0, *(offer["context"] for offer in offers)}
        excluded = [None, *(offer["node"] for offer in offers)]
        for wanted, tokens, without in product(product([False, True], repeat=len(NEEDS)), lengths, excluded):
            needs = [need for need, needed in zip(NEEDS, wanted, strict=True) if needed]
            if chosen := offers_for(offers, needs, tokens, without):
                found[tuple(offer["node"] for offer in chosen)] = None
    return sorted(found)


def weights_of(endpoints: Sequence[Mapping[str, Any]], names: Iterable[str], slots: int) -> dict[str, int]:
    """Return node -> weight in an upstream of these nodes; all are 0 where every one is drained.

    Nodes outside the balancing get one slot each.
    """
    chosen = set(names)
    inside = [one for one in endpoints if not is_outside(one)]
    left = [{**one, "drained": one["drained"] or one["node"] not in chosen} for one in inside]
    weights = {one["node"]: 0 if one["drained"] else 1 for one in endpoints if one["node"] in chosen}
    if any(not one["drained"] for one in left):
        weights |= {one["node"]: one["weight"] for one in upstream_weights(left, slots)}
    return {name: weight for name, weight in weights.items() if name in chosen}


def is_edge(node: Mapping[str, Any]) -> bool:
    """Tell whether a node's models are reached through its own nginx, which limits what is asked of them."""
    return node["tier"] == "edge" and "nginx" in node["services"] and node["share"] == 0


def endpoints_of(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `service_endpoints` of Ollama as Kong reaches them, each with `check`, the path of a probe.

    `edge`: whether nginx on the gateway asks it when no other node answers.
    """
    by_name = {node["name"]: node for node in nodes}
    found = []
    for endpoint in service_endpoints(nodes, "ollama", "api"):
        node = by_name[endpoint["node"]]
        place = {"check": "/api/version", "edge": False}
        if is_edge(node):
            port = node["services"]["nginx"]["ports"]["http"]["port"]
            place = {"check": "/healthz", "edge": not node["drained"], "port": port}
        found.append({**endpoint, **place})
    return found


def tag(offers: Sequence[Offer]) -> dict[str, Any]:
    """Return a model as Ollama's `/api/tags` lists it: what its best node gives."""
    best = max(offers, key=lambda offer: offer["context"])
    name = best["shown"] if ":" in best["shown"].rsplit("/", 1)[-1] else f"{best['shown']}:latest"
    kind = ["embedding"] if best.get("embedding") else ["completion"]
    return {
        "name": name,
        "model": name,
        "modified_at": "1970-01-01T00:00:00Z",
        "size": int(best["size_gb"] * GB),
        # Of no file, for nodes may have different builds: it tells entries apart.
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {
            "family": "",
            "parameter_size": "",
            "quantization_level": "",
            "context_length": best["context"],
        },
        "capabilities": [*kind, *(need for need in NEEDS if best.get(need))],
    }


def model_routing(
    nodes: Sequence[Mapping[str, Any]], hostvars: Iterable[Mapping[str, Any]], models: object, slots: int = 20
) -> dict[str, Any]:
    """Return what Kong needs to send each request to nodes that can answer it.

    `nodes`: `cluster_nodes`; `hostvars`: variables of hosts; `models`: `kong_models`; `slots` as in
    `upstream_weights`. Returned: upstreams [{name, check (path of the probe), targets [{node, address, port,
    weight}]}], the one of all balanced nodes first; retries (the largest weight); lua (the table as text for
    route.lua); checked (what `verify` compares: [{node, url, models: name ->
    abilities}] of nodes whose Ollama the gateway reaches). Without a balanced node all are empty.
    """
    endpoints = endpoints_of(nodes)
    home = tuple(one["node"] for one in endpoints if not is_outside(one))
    if not home:
        return {"upstreams": [], "retries": 0, "lua": "", "checked": []}
    variables = {str(one["inventory_hostname"]): one for one in hostvars}
    names = names_of(endpoints, variables, models)
    places = {one["node"]: one for one in endpoints}
    sets = dict.fromkeys([home, *node_sets(names)])
    upstreams = []
    for members in sets:
        weights = weights_of(endpoints, members, slots)
        targets = [
            {"node": name, "weight": weights[name], **{key: places[name][key] for key in ("address", "port")}}
            for name in members
        ]
        name = HOME if members == home else "ai." + ".".join(members).lower()
        upstreams.append({"name": name, "check": places[members[0]]["check"], "targets": targets})
    return {
        "upstreams": upstreams,
        "retries": max(target["weight"] for one in upstreams for target in one["targets"]),
        "checked": [
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
            if one["check"] == "/api/version"
        ],
        "lua": table(
            names,
            {" ".join(members): one["name"] for members, one in zip(sets, upstreams, strict=True)},
            models,
        ),
    }


def table(names: Names, upstreams: Mapping[str, str], models: object) -> str:
    """Return the local variables that route.lua reads, as Lua."""
    about = described(models)
    shown = {name: offers[0]["shown"] for name, offers in names.items()}
    stands_in = {name: normalise(one["substitute"]) for name, one in about.items() if one.get("substitute")}
    embedding = [name for name, offers in names.items() if any(offer.get("embedding") for offer in offers)]
    listed = [{"id": one, "object": "model", "created": 0, "owned_by": "library"} for one in shown.values()]
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
        "EMBEDDER": next(iter(embedding), None),
        "OPENAI_LIST": json.dumps({"object": "list", "data": listed}),
        "TAGS": json.dumps({"models": [*map(tag, names.values())]}),
    }
    return "".join(f"local {name} = {lua(value)}\n" for name, value in values.items())

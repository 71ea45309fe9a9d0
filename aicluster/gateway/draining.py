"""Which AI nodes are out of balancing until somebody takes them in again, and who answers meanwhile.

Source: the variable `site_drained`, in a file that playbooks/drain.yml writes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..budget.models import present
from ..errors import SiteError
from ..models import normalise
from ..site.rules import named_node, suggestion
from .routing import Names, endpoints_of, names_of, offers_for
from .weights import is_outside

HEAD = """\
# Written by playbooks/drain.yml. The gateway sends these hosts no requests; `make undrain` removes a line.
site_drained:"""


def text_of(drained: Sequence[str], names: Mapping[str, str]) -> str:
    """Return the text of the file of drained hosts; `names`: host -> name, of the hosts of this inventory."""
    lines = [f"\n  - {host}" + (f" # {names[host]}" if host in names else "") for host in drained]
    return HEAD + ("".join(lines) or " []") + "\n"


def said_of(names: Names, me: str, served: Mapping[str, Sequence[str]], models: object) -> list[str]:
    """Return by whom each name that a node has is answered, one line for each set of nodes."""
    instead = {normalise(one["name"]): normalise(one.get("substitute") or "") for one in present(models)}
    lines: dict[str, list[str]] = {}
    for name, offers in names.items():
        if all(one["node"] != me for one in offers):
            continue
        shown, other = offers[0]["shown"], instead.get(name, "")
        if served[name]:
            lines.setdefault(f"answered by {' and '.join(served[name])}", []).append(shown)
        elif served.get(other):
            shown += f" ({names[other][0]['shown']})"
            lines.setdefault("on no other node; a substitute answers", []).append(shown)
        elif edge := [one["node"] for one in offers if one["edge"]]:
            lines.setdefault(f"answered by {' or '.join(edge)}, the edge", []).append(shown)
        else:
            lines.setdefault("on no other node; answered 503", []).append(shown)
    return [f"{what}: {', '.join(names)}" for what, names in lines.items()]


def draining(
    nodes: Sequence[Mapping[str, Any]],
    hostvars: Iterable[Mapping[str, Any]],
    models: object,
    drained: Collection[str] | None,
    name: str,
    what: str = "drain",
) -> dict[str, Any]:
    """Return what follows when a node is drained or comes back; raise SiteError for one that cannot.

    `nodes`: `cluster_nodes`; `models`: `kong_models`; `drained`: `site_drained`; `what`: drain, undrain, or
    anyway, which also drains a node that alone has an alias. Returned: node, host, drained (the new list),
    text (the file with it), said.
    """
    back, anyway, what = what == "undrain", what == "anyway", "undrain" if what == "undrain" else "drain"
    named = named_node(nodes, name, what)
    me, host, known = named["name"], named["host"], list(drained or [])
    if "ollama" not in named["services"]:
        fix = suggestion(name, [node["name"] for node in nodes if "ollama" in node["services"]])
        raise SiteError(f"{what}: node {name!r}: must run ollama; {fix}")
    if back and named["drained"] and host not in known:
        raise SiteError(
            f"undrain: node {name!r}: is drained by node_drained of its own; remove that from "
            f"host_vars/{host}/node.yml and run site.yml"
        )
    new = [*(one for one in known if one != host), *([] if back else [host])]
    variables = {str(one["inventory_hostname"]): one for one in hostvars}
    endpoints = endpoints_of([{**node, "drained": not back} if node is named else node for node in nodes])
    names = names_of(endpoints, variables, models)
    away = {one["node"] for one in endpoints if one["drained"]}
    served = {
        key: [one["node"] for one in offers_for(offers) if one["node"] not in away]
        for key, offers in names.items()
    }
    if not back:
        shared = [one["node"] for one in endpoints if not is_outside(one)]
        if me in shared and away.issuperset(shared):
            others = " or ".join(one for one in shared if one != me) or "nobody"
            raise SiteError(
                f"drain: node {name!r}: is the last one that requests are balanced over; undrain {others} "
                "first"
            )
        lost = [
            one["shown"]
            for key, offers in names.items()
            if not served[key] and not any(one["edge"] for one in offers)
            for one in offers
            if one["node"] == me and one["shown"] != one["model"]
        ]
        if lost and not anyway:
            raise SiteError(
                f"drain: node {name!r}: no other node has the alias {', '.join(lost)}; give it to one "
                "in ollama_aliases, or drain this one with -e anyway=true"
            )
    gets = "gets requests again" if back else "gets no new requests from the gateway"
    return {
        "node": me,
        "host": host,
        "drained": new,
        "text": text_of(new, {str(node["host"]): str(node["name"]) for node in nodes}),
        "said": [f"{me} {gets}", *said_of(names, me, served, models)],
    }

"""Which models of the AI nodes are measured, and what follows for the weights of the gateway.

Source: `ollama_models` and `ollama_aliases` of each node, `kong_models`, and what each Ollama says of its
answers in playbooks/benchmark.yml. The measured capacities are the variable `site_capacities`.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ..budget.models import present
from ..errors import SiteError
from ..models import normalise
from ..site.nodes import service_endpoints
from .routing import HOME
from .weights import is_outside, upstream_weights

HEAD = """\
# Written by playbooks/benchmark.yml: tokens per second of {model} on each host. The gateway's weights follow
# from them where no node has a share: node_ai_tier_share and node_ai_share null.
site_capacities:
"""

NS = 1e9

Variables = Mapping[str, Mapping[str, Any]]


def of_hosts(hostvars: Iterable[Mapping[str, Any]]) -> Variables:
    """Return host -> its variables."""
    return {str(one["inventory_hostname"]): one for one in hostvars}


def balanced(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the endpoints that requests are balanced over, drained or not."""
    return [one for one in service_endpoints(nodes, "ollama", "api") if not is_outside(one)]


def embedding_of(models: object) -> set[str]:
    """Return the models that write nothing; `models`: `kong_models`."""
    return {normalise(one["name"]) for one in present(models) if one.get("embedding")}


def reference(nodes: Sequence[Mapping[str, Any]], variables: Variables, models: object) -> str | None:
    """Return the first model that all balanced nodes have: only one and the same compares nodes."""
    embedding = embedding_of(models)
    listed = [
        [str(one["name"]) for one in present(variables[endpoint["host"]].get("ollama_models"))]
        for endpoint in balanced(nodes)
    ]
    everywhere = [{normalise(name) for name in names} for names in listed]
    common = (
        name
        for name in (listed[0] if listed else [])
        if normalise(name) not in embedding and all(normalise(name) in names for names in everywhere)
    )
    return next(common, None)


def benchmark_models(
    nodes: Sequence[Mapping[str, Any]], hostvars: Iterable[Mapping[str, Any]], models: object, host: str
) -> list[str]:
    """Return the models that are measured on a host: the one all balanced nodes have, those of its aliases.

    `models`: `kong_models`. A node that is not balanced has only those of its aliases.
    """
    variables = of_hosts(hostvars)
    common = reference(nodes, variables, models)
    own = {normalise(str(one["name"])) for one in present(variables[host].get("ollama_models"))}
    aliases = (variables[host].get("ollama_aliases") or {}).values()
    found = [*([common] if common and normalise(common) in own else []), *aliases]
    unique: dict[str, str] = {}
    for name in found:
        unique.setdefault(normalise(name), name)
    return [name for key, name in unique.items() if key not in embedding_of(models)]


def measured_on(own: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return model -> median of its tokens per second, seconds it took to load (0: it was in memory).

    Times are those of Ollama itself, so nothing on the way to it is measured. `own`: variables of a host.
    """
    answers: dict[str, list[Mapping[str, Any]]] = {}
    for one in own.get("__benchmark", {}).get("results", []):
        answers.setdefault(one["__benchmark_run"][0], []).append(one["json"])
    found = {}
    for model, (first, *warm) in answers.items():
        if rates := [one["eval_count"] * NS / one["eval_duration"] for one in warm if one.get("eval_count")]:
            found[model] = round(median(rates), 1), first.get("load_duration", 0) / NS
    return found


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of two texts and two numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = (str.ljust, str.ljust, str.rjust, str.rjust)
    return [
        "  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True))
        for row in rows
    ]


def weights_said(endpoints: Sequence[Mapping[str, Any]]) -> str:
    """Return the weights of the upstream of all balanced nodes, or why there are none."""
    try:
        weighed = upstream_weights(endpoints)
    except SiteError as error:
        return str(error)
    return ", ".join(f"{one['node']} {one['weight']}" for one in weighed)


def benchmark_report(
    nodes: Sequence[Mapping[str, Any]],
    hostvars: Iterable[Mapping[str, Any]],
    models: object,
    known: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return {said: a table and the weights that would follow, text: the file of capacities, "" without}.

    `known`: `site_capacities`, kept for hosts of other inventories.
    """
    variables = of_hosts(hostvars)
    model = reference(nodes, variables, models)
    names = {node["host"]: node["name"] for node in nodes}
    measured = {host: measured_on(variables[host]) for host in names}
    rows = [
        (names[host], name, f"{rate:.1f}", f"{load_s:.1f}")
        for host, results in measured.items()
        for name, (rate, load_s) in results.items()
    ]
    said = table([("node", "model", "tokens/s", "load s"), *rows])
    endpoints = balanced(nodes)
    found = {host: results[model][0] for host, results in measured.items() if model in results}
    said.append(f"weights of {HOME} now: {weights_said(endpoints)}")
    if missing := [one["node"] for one in endpoints if one["host"] not in found]:
        return {
            "said": [*said, f"no capacities: {model} was not measured on {', '.join(missing)}"],
            "text": "",
        }
    follow = [{**one, "share": None, "capacity": found[one["host"]]} for one in endpoints]
    said.append(f"weights by tokens/s of {model}: {weights_said(follow)}")
    lines = [
        f"  {host}: {rate}" + (f" # {names[host]}" if host in names else "") + "\n"
        for host, rate in {**(known or {}), **found}.items()
    ]
    return {"said": said, "text": HEAD.format(model=model) + "".join(lines)}

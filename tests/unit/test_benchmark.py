"""What is measured on which node, and which weights follow from it."""

from typing import Any

import render
import yaml

from aicluster.gateway.benchmark import benchmark_models, benchmark_report, measured_on

NODES = render.cluster("production")
HOST = {node["name"]: node["host"] for node in NODES}
MODELS = [{"name": "embeds", "embedding": True}]
HAS = {
    "AGX0": (["embeds", "large", "Small"], {"chat": "large", "code": "small", "embed": "Embeds"}),
    "ORIN0": (["embeds", "small:latest"], {"chat": "small:latest"}),
    "NANO": (["tiny"], {"chat": "tiny"}),
}
FOREIGN = {"198.18.77.154": 9.0}


def said(rate: float) -> dict[str, object]:
    """What Ollama says of an answer of two seconds."""
    return {"load_duration": 2.04e9, "eval_count": 2 * rate, "eval_duration": 2e9}


def hostvars(measured: dict[str, dict[str, float]] | None = None) -> list[dict[str, Any]]:
    """Variables of all hosts; `measured`: node -> model -> tokens per second."""
    found = []
    for name, host in HOST.items():
        models, aliases = HAS.get(name, ([], {}))
        own = {"ollama_models": [{"name": one} for one in models], "ollama_aliases": aliases}
        # The first answer loads; of the others the median counts.
        results = [
            {"__benchmark_run": [model, 128], "json": said(one)}
            for model, rate in (measured or {}).get(name, {}).items()
            for one in (1.0, rate + 9, rate, rate - 1)
        ]
        told = {"__benchmark": {"results": results}} if results else {}
        found.append({"inventory_hostname": host, **own, **told})
    return found


def test_the_weights_follow_from_one_model_on_every_balanced_node():
    measured = {"AGX0": {"Small": 63.0, "large": 10.0}, "ORIN0": {"Small": 21.0}, "NANO": {"tiny": 5.0}}
    report = benchmark_report(NODES, hostvars(measured), MODELS, FOREIGN)
    assert report["said"] == [
        "node   model  tokens/s  load s",
        "AGX0   Small      63.0     2.0",
        "AGX0   large      10.0     2.0",
        "ORIN0  Small      21.0     2.0",
        "NANO   tiny        5.0     2.0",
        "weights of ai-chat now: AGX0 4, ORIN0 1",
        "weights by tokens/s of Small: AGX0 3, ORIN0 1",
    ]
    written = {"site_capacities": {**FOREIGN, HOST["AGX0"]: 63.0, HOST["ORIN0"]: 21.0}}
    assert yaml.safe_load(report["text"]) == written


def test_without_every_balanced_node_nothing_is_written():
    report = benchmark_report(NODES, hostvars({"AGX0": {"Small": 60.0}}), MODELS)
    assert (report["said"][-1], report["text"]) == ("no capacities: Small was not measured on ORIN0", "")


def test_what_embeds_is_not_measured_also_behind_an_alias():
    assert benchmark_models(NODES, hostvars(), MODELS, HOST["AGX0"]) == ["Small", "large"]


def test_an_answer_without_a_token_is_no_measurement():
    silent = [{"__benchmark_run": ["Small", 128], "json": {"eval_duration": 0}}] * 2
    assert measured_on({"__benchmark": {"results": silent}}) == {}

"""What is measured on which node, how, and which weights follow from it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import render
import yaml
from ansible.module_utils.testing import patch_module_args
from by_path import import_file
from listening import Listening

from aicluster.gateway.benchmark import benchmark_models, benchmark_report

ollama_benchmark = import_file("library/ollama_benchmark.py", "ollama_benchmark_by_path")
NODES = render.cluster("production")
HOST = {node["name"]: node["host"] for node in NODES}
MODELS = [{"name": "embeds", "embedding": True}]
HAS = {
    "AGX0": (["embeds", "large", "Small"], {"chat": "large", "code": "small", "embed": "Embeds"}),
    "ORIN0": (["embeds", "small:latest"], {"chat": "small:latest"}),
    "NANO": (["tiny"], {"chat": "tiny"}),
}
FOREIGN = {"198.18.77.154": 9.0}


def hostvars(measured: dict[str, dict[str, float]] | None = None) -> list[dict[str, Any]]:
    """Variables of all hosts; `measured`: node -> model -> tokens per second."""
    found = []
    for name, host in HOST.items():
        models, aliases = HAS.get(name, ([], {}))
        own = {"ollama_models": [{"name": one} for one in models], "ollama_aliases": aliases}
        results = {
            model: {"tokens_per_s": rate, "load_s": 2.04}
            for model, rate in (measured or {}).get(name, {}).items()
        }
        told = {"__benchmark": {"measured": results}} if results else {}
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


class Handler(BaseHTTPRequestHandler):
    """Ollama: the first answer loads, later ones have these rates in tokens per second."""

    asked: list[dict[str, Any]]
    rates: list[float]

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        tokens = self.asked[-1]["options"]["num_predict"]
        duration = tokens / self.rates[len(self.asked) - 1] * 1e9 if self.rates else 0
        body = {"eval_count": tokens, "eval_duration": duration, "load_duration": 3.21e9}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


@pytest.fixture
def ollama() -> Iterator[tuple[type[Handler], str]]:
    handler = type("Handler", (Handler,), {"asked": [], "rates": [1.0, 30.0, 10.0, 20.04]})
    listening = Listening(handler)
    with listening:
        yield handler, listening.url


def measured(url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with patch_module_args({"url": url, "models": ["small"]}), pytest.raises(SystemExit):
        ollama_benchmark.main()
    return dict(json.loads(capsys.readouterr().out))


def test_the_median_of_three_warm_answers_counts_and_the_load_is_apart(ollama, capsys):
    handler, url = ollama
    assert measured(url, capsys)["measured"] == {"small": {"tokens_per_s": 20.0, "load_s": 3.2}}
    assert [body["options"]["num_predict"] for body in handler.asked] == [1, 128, 128, 128]
    assert not any(body["stream"] for body in handler.asked)


def test_an_answer_without_a_token_is_no_measurement(ollama, capsys):
    handler, url = ollama
    handler.rates = []
    said = measured(url, capsys)
    assert said["failed"] and "answered 200 without having generated a token" in said["msg"]

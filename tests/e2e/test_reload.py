"""A changed file is read by its own program before it replaces another, and read again without a pause."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import http_client
import pytest
import site_under_test as site
from load import Load
from project_copy import copy_of_the_project

pytestmark = pytest.mark.looks
CLIENTS = 4
STREAM_FOR_S = 60 if os.environ.get("AICLUSTER_FULL") else 20
# A stream of some seconds: the answer repeats the question.
QUESTION = {"messages": [{"role": "user", "content": "Say all of this again. " * 20}], "stream": True}
SHARES = {"primary_ai": 60, "secondary_ai": 40}
USERS: list[dict[str, Any]] = [
    {"name": "anna", "role": "user", "models": ["chat"], "limit_per_minute": 3},
    {"name": "ben", "role": "user"},
]
KEYS = {user["name"]: secrets.token_urlsafe() for user in USERS}
GATEWAY = next(node for node in site.running("kong") if "nginx" in node.services)


def whole_stream(url: str, key: str) -> http_client.Answer:
    """An answer that was read to its end; OSError for one without."""
    try:
        answer = http_client.post(url, QUESTION, key)
        if answer.status == 200 and json.loads(answer.body.splitlines()[-1])["done"] is not True:
            raise OSError(f"ended with {answer.body[-200:]!r}")
    except (HTTPException, ValueError, KeyError, IndexError) as error:
        raise OSError(repr(error)) from None
    return answer


def weights() -> dict[str, int]:
    """Node -> weight of its target in the Kong that runs."""
    port = GATEWAY.port("kong", "status")
    page = site.shell(GATEWAY, f"curl -fsS http://{GATEWAY.address}:{port}/upstreams/ai-chat/health")
    return {target["tags"][0]: target["weight"] for target in json.loads(page)["data"]}


def containers() -> str:
    """Who runs on the gateway, since when, and which configuration nginx works with."""
    nginx = f"curl -fsS http://{GATEWAY.address}:{GATEWAY.port('nginx', 'http')}/healthz/nginx"
    return site.shell(
        GATEWAY, f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' $(docker ps -q); {nginx}"
    )


@dataclass
class Changed:
    """What happened while the shares changed."""

    run: site.Run
    streams: list[Load]
    before: str
    after: str
    weights: dict[str, int]
    shown: dict[str, str]


@pytest.fixture(scope="module")
def changed(tmp_path_factory, gateway_url, api_key) -> Iterator[Changed]:
    """Other shares and two users, brought to the gateway while clients stream; then all is as before."""
    nodes = [node for node in site.running("ollama") if node.entry["share"]]
    shares = {node: {"node_ai_tier_share": SHARES[node.entry["tier"]]} for node in nodes}
    layer = site.inventory_layer(tmp_path_factory.mktemp("layer"), shares)
    users = site.users_layer(tmp_path_factory.mktemp("users"), KEYS, *USERS)
    before, weights_before = containers(), weights()
    try:
        with ExitStack() as stack:
            chat = f"{gateway_url}/api/v1/chat"
            clients = [Load(lambda: whole_stream(chat, api_key)) for _ in range(CLIENTS)]
            streams = [stack.enter_context(client) for client in clients]
            began = time.monotonic()
            run = site.run_site(*layer, *users, "--limit", GATEWAY.address)
            time.sleep(max(0.0, STREAM_FOR_S - (time.monotonic() - began)))
        shown = http_client.get(f"{gateway_url}/shares.json").json()
        yield Changed(run, streams, before, containers(), weights(), shown)
    finally:
        back = site.run_site("--limit", GATEWAY.address)
    back.succeeded()
    assert weights() == weights_before
    taken_away = {name: http_client.get(f"{gateway_url}/v1/models", key).status for name, key in KEYS.items()}
    assert taken_away == {"anna": 401, "ben": 401}


def test_other_shares_and_users_reload_kong_and_nothing_else(changed):
    told = changed.run.succeeded().output.splitlines()
    lines = [line.split(maxsplit=1)[1] for line in told if line.startswith(GATEWAY.name)]
    assert [line for line in lines if " file " not in line] == ["~ reload container kong"]
    of_nginx = [line.split()[2] for line in lines if "/nginx/" in line]
    assert of_nginx == ["/opt/aicluster/nginx/conf/html/shares.json"]
    assert changed.after == changed.before


def test_they_count_at_once_for_requests_and_on_the_page(changed):
    nodes = {node.name: node for node in site.running("ollama") if node.entry["share"]}
    shares = {name: SHARES[node.entry["tier"]] for name, node in nodes.items()}
    total = sum(changed.weights.values())
    assert {name: 100 * weight / total for name, weight in changed.weights.items()} == shares
    assert changed.shown == {
        name: f"{share}\N{NO-BREAK SPACE}% of the requests" for name, share in shares.items()
    }


def test_no_stream_fails_or_ends_early_meanwhile(changed, record_property):
    record_property("streams", sum(len(client.answers) for client in changed.streams))
    assert [problem for client in changed.streams for problem in client.failed()] == []
    assert all(client.answers for client in changed.streams)


@pytest.mark.usefixtures("changed")
def test_a_user_has_models_and_a_limit_and_another_one_is_not_affected(gateway_url):
    url, question = f"{gateway_url}/api/v1/chat", QUESTION | {"model": "code", "stream": False}
    forbidden = http_client.post(url, question, KEYS["anna"])
    assert forbidden.status == 403
    assert forbidden.json()["error"] == '"code" is not among the models you may use: chat.'
    # Should a minute begin in between, six of all pass.
    answers = [http_client.get(f"{gateway_url}/v1/models", KEYS["anna"]) for _ in range(6)]
    assert [one["id"] for one in answers[0].json()["data"]] == ["chat"]
    refused, *_ = [answer for answer in answers if answer.status != 200]
    assert refused.status == 429 and 0 < int(refused.headers["Retry-After"]) <= 60
    assert http_client.post(url, question, KEYS["ben"]).status == 200


# Service: template, what it says, what it says when it is broken; its checker, and what that says.
BROKEN = {
    "nginx": (
        "conf/nginx.conf.j2", "\nworker_processes ", "\nworker_processes many",
        "nginx -t", 'directive invalid value in /etc/nginx/nginx.conf',
    ),
    "kong": (
        "secrets/kong.yml.j2", "algorithm: round-robin", "algorithm: weighted",
        "kong config parse", "in 'upstreams[1].algorithm': expected one of",
    ),
    "prometheus": (
        "rules/watch.yml", "expr:", "exprr:",
        "promtool check config", "field exprr not found in type rulefmt.RuleNode",
    ),
    "alertmanager": (
        "alertmanager.yml.j2", "receiver: default", "receiver: nobody",
        "amtool check-config", 'undefined receiver "nobody" used in route',
    ),
    "blackbox_exporter": (
        "config.yml.j2", "prober: icmp", "probber: icmp",
        "blackbox_exporter --config.check", "field probber not found in type config.plain",
    ),
    "victorialogs": (
        "compose.yaml.j2", "-retentionPeriod=", "-retentionPeriod=about",
        "/victoria-logs-prod @arguments@ -version", 'for flag -retentionPeriod',
    ),
    "postgres": (
        "conf/pg_hba.conf.j2", "scram-sha-256", "scram-sha-512",
        "/etc/aicluster/checked", 'invalid authentication method "scram-sha-512"',
    ),
}  # fmt: skip
NODES = [site.running(service)[0] for service in ("kong", "alertmanager", "postgres")]
READERS = [(service, node) for service in BROKEN for node in NODES if service in node.services]


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> Iterator[str]:
    """What a run says that would break one file of each service; the nodes stay as they were."""
    project = copy_of_the_project(tmp_path_factory.mktemp("broken") / "project")
    for service, (template, good, bad, _program, _message) in BROKEN.items():
        path = project / f"roles/{service}/templates/opt/aicluster/{service}" / template
        text = path.read_text()
        assert good in text, path
        path.write_text(text.replace(good, bad))
    before = [site.fingerprint(node) for node in NODES]
    run = site.run_playbook("site.yml", "--limit", ",".join(node.address for node in NODES), root=project)
    assert run.code != 0
    assert run.changed == {node.address: 0 for node in NODES}
    yield " ".join(run.output.split())
    assert [site.fingerprint(node) for node in NODES] == before


@pytest.mark.parametrize(
    ("service", "node"), READERS, ids=[f"{service} on {node.name}" for service, node in READERS]
)
def test_a_broken_file_is_refused_by_the_program_that_would_read_it_in_its_own_words(refused, service, node):
    template, _good, _bad, program, message = BROKEN[service]
    said = refused.partition(f"fatal: [{node.address}]")[2].partition("fatal: [")[0]
    file = f"/opt/aicluster/{service}/{template.removesuffix('.j2')}"
    assert f"{file} of service {service} was refused by `{program}" in said
    assert message in said
    assert "Nothing was replaced on this node." in said

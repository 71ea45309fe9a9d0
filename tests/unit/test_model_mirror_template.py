"""What the mirror of models is given, and what its nginx lets through."""

import re
from typing import Any

import pytest
from render import cluster, compose_of, hosts_running, render_role

AGX0 = "192.168.1.154"
CONFIGURATION = "/opt/aicluster/model_mirror/conf/nginx.conf"


def container() -> dict[str, Any]:
    merged: dict[str, Any] = compose_of("model_mirror")["services"]["model_mirror"]
    return merged


def entry(service: str) -> dict[str, Any]:
    [node] = [node for node in cluster("production") if node["host"] == AGX0]
    found: dict[str, Any] = node["services"][service]
    return found


def patterns() -> list[re.Pattern[str]]:
    """The regular expressions of its locations, whose syntax nginx and Python share as far as these go."""
    found = re.findall(r'location ~ "(.+)" \{', render_role("model_mirror")[CONFIGURATION])
    return [re.compile(pattern) for pattern in found]


def test_it_reads_the_volume_of_the_ollama_beside_it_and_writes_nowhere():
    volumes = container()["volumes"]
    assert "ollama:/ollama:ro" in volumes
    assert all(volume.endswith(":ro") for volume in volumes)
    assert container()["read_only"] and container()["cap_drop"] == ["ALL"]
    files = {service: compose_of(service, host=AGX0)["volumes"] for service in ("ollama", "model_mirror")}
    assert files["ollama"] == files["model_mirror"] == {"ollama": None}, "compose takes it as one volume"


def test_it_is_not_root_whose_key_lies_beside_the_models():
    assert container()["user"] == "101:101"


def test_only_nodes_that_pull_reach_it():
    port = entry("model_mirror")["ports"]["registry"]
    assert set(port["from"]) == {"primary_ai", "secondary_ai"}
    assert container()["ports"] == [f"{AGX0}:{port['port']}:{port['container']}"]
    assert f"listen {port['container']};" in render_role("model_mirror")[CONFIGURATION]
    assert str(port["container"]) in " ".join(entry("model_mirror")["health"]["test"])


@pytest.mark.parametrize("host", hosts_running("model_mirror"))
def test_it_runs_beside_an_ollama(host):
    assert host in hosts_running("ollama")


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "path",
    [
        "/v2/library/llama3.2/manifests/1b-instruct-q4_K_M",
        "/v2/me/mine/manifests/latest",
        f"/v2/library/phi3/blobs/{DIGEST}",
    ],
)
def test_what_a_pull_asks_for_is_served_by_exactly_one_location(path):
    assert len([1 for pattern in patterns() if pattern.search(path)]) == 1


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/id_ed25519", id="the private key"),
        pytest.param("/v2/library/../manifests/latest", id="a way out"),
        pytest.param("/v2/library/.hidden/manifests/latest", id="hidden files"),
        pytest.param("/v2/library/phi3/manifests/", id="a list of tags"),
        pytest.param(f"/v2/library/phi3/blobs/{DIGEST}-partial", id="a layer that is not whole"),
        pytest.param("/v2/library/phi3/blobs/sha256:../../id_ed25519", id="a digest that is none"),
        pytest.param("/v2/a/b/c/manifests/latest", id="more folders than a name has"),
    ],
)
def test_nothing_else_is_served(path):
    assert not [1 for pattern in patterns() if pattern.search(path)]


def test_layers_come_with_a_location_and_methods_that_write_are_refused():
    text = render_role("model_mirror")[CONFIGURATION]
    [blobs] = re.findall(r'location ~ "[^"]+/blobs/[^"]+" \{(.+?)\n    \}', text, re.DOTALL)
    assert "add_header Location $request_uri;" in blobs
    assert re.search(r"if \(\$request_method !~ \^\(GET\|HEAD\)\$\) \{\s+return 405;", text)

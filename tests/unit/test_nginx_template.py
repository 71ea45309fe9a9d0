"""What nginx is told: the front door of a node, made from what runs behind it."""

import re
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import render
from tree import load

CONF = "/opt/aicluster/nginx/conf/"
Block = list[tuple[str, list[str], Any]]


def parse(text: str) -> Block:
    """nginx.conf as (directive, arguments, inner block or None), in order."""
    tokens = re.findall(r"#[^\n]*|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[{};]|[^\s{};'\"]+", text)
    rest = iter(token for token in tokens if not token.startswith("#"))

    def block() -> Block:
        found: Block = []
        words: list[str] = []
        for token in rest:
            if token == "}":
                assert not words, f"no semicolon after {words}"
                return found
            if token in ";{":
                found.append((words[0], words[1:], block() if token == "{" else None))
                words = []
            else:
                words.append(token)
        assert not words, f"no semicolon after {words}"
        return found

    return block()


def included(block: Block, files: dict[str, str]) -> Block:
    """The block with every `include` replaced by the files it names."""
    found: Block = []
    for name, arguments, inner in block:
        if name == "include":
            pattern = re.compile(re.escape(CONF + arguments[0]).replace(r"\*", "[^/]*"))
            for path in sorted(path for path in files if pattern.fullmatch(path)):
                found += included(parse(files[path]), files)
        else:
            found.append((name, arguments, None if inner is None else included(inner, files)))
    return found


@cache
def front_door(inventory: str = "production", kong: bool = True) -> Block:
    nodes = deepcopy(render.cluster(inventory))
    if not kong:
        del nodes[0]["services"]["kong"]
    files = render.render_role("nginx", inventory=inventory, overrides={"cluster_nodes": nodes})
    return included(parse(files[CONF + "nginx.conf"]), files)


def inner(block: Block, name: str) -> list[Block]:
    return [found for directive, _, found in block if directive == name and found is not None]


def server(**which: Any) -> Block:
    [http] = inner(front_door(**which), "http")
    [found] = inner(http, "server")
    return found


def locations(**which: Any) -> dict[str, dict[str, list[str]]]:
    """Location -> directive -> its (last) arguments."""
    return {
        " ".join(arguments): {name: words for name, words, _ in block}
        for directive, arguments, block in server(**which)
        if directive == "location"
    }


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_locations_of_the_gateway():
    assert {name for name in locations() if "grafana" not in name} == {
        "/",
        "/api/",
        "/v1/",
        "= /healthz",
        "= /healthz/nginx",
        "@kong_away",
        "@too_big",
    }


def test_a_node_without_a_gateway_has_no_way_to_one():
    found = locations(kong=False)
    assert {name for name in found if "grafana" not in name} == {"/", "= /healthz", "= /healthz/nginx"}
    assert found["= /healthz"]["return"][0] == "200"


@pytest.mark.parametrize("location", ["/api/", "/v1/"])
@pytest.mark.parametrize(
    ("directive", "arguments"),
    [
        pytest.param("proxy_buffering", ["off"], id="tokens are not held back"),
        pytest.param("proxy_request_buffering", ["off"], id="no body is kept of a client without a key"),
        pytest.param("gzip", ["off"], id="nothing is collected to be compressed"),
        pytest.param("proxy_http_version", ["1.1"], id="answers of unknown length are chunked"),
        pytest.param("proxy_next_upstream", ["off"], id="Kong does the retrying"),
        pytest.param(
            "proxy_pass", ["http://$kong:8000"], id="the name is in a variable, so it is asked again"
        ),
    ],
)
def test_a_way_to_the_gateway(location, directive, arguments):
    assert locations()[location][directive] == arguments


@pytest.mark.parametrize("location", ["/api/", "/v1/"])
def test_nginx_waits_longer_than_kong(location):
    kong = load("roles/kong/defaults/main.yml")["kong_read_timeout_ms"] / 1000
    for directive in ("proxy_read_timeout", "proxy_send_timeout"):
        assert seconds(locations()[location][directive][0]) >= kong + 10


def test_a_longer_timeout_of_kong_makes_nginx_wait_longer():
    files = render.render_role("nginx", overrides={"kong_read_timeout_ms": 900_500})
    assert "proxy_read_timeout 921s;" in files[CONF + "kong_proxy.conf"]


def test_what_nginx_takes_for_kongs_defaults_are_kongs_defaults():
    defaults = load("roles/kong/defaults/main.yml")
    variables = str(load("roles/nginx/vars/main.yml"))
    for name in ("kong_read_timeout_ms", "kong_body_limit_mb"):
        assert f"{name} | default({defaults[name]})" in variables


def test_a_recreated_kong_is_found_within_seconds():
    [http] = inner(front_door(), "http")
    [resolver] = [words for name, words, _ in http if name == "resolver"]
    assert resolver[0] == "127.0.0.11"
    assert seconds(next(word for word in resolver if word.startswith("valid=")).removeprefix("valid=")) <= 5
    assert ["$kong", "kong"] in [words for name, words, _ in server() if name == "set"]
    assert not inner(http, "upstream"), "names in an upstream block are resolved once"


def test_health_has_two_depths():
    found = locations()
    assert found["= /healthz"]["proxy_pass"] == ["http://$kong:8100/status/ready"]
    assert found["= /healthz/nginx"]["return"][0] == "200"


def test_the_container_asks_for_the_health_of_nginx_itself():
    nginx = render.compose_of("nginx")["services"]["nginx"]
    assert "http://127.0.0.1/healthz/nginx" in nginx["healthcheck"]["test"][-1]


def test_a_missing_kong_is_told_in_json():
    away = locations()["@kong_away"]
    assert away["return"][0] == "503"
    assert away["default_type"] == ["application/json"]
    for location in ("/api/", "/v1/", "= /healthz"):
        assert locations()[location]["error_page"] == ["502", "504", "=", "@kong_away"]


def test_a_body_over_kongs_limit_is_told_in_json():
    text = render.render_role("nginx")[CONF + "kong_proxy.conf"]
    assert "client_max_body_size 20m;" in text
    assert "error_page 413 @too_big;" in text
    assert locations()["@too_big"]["default_type"] == ["application/json"]


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For $remote_addr", "X-Forwarded-Proto $scheme", "X-Request-ID $request_id"]
)
def test_the_edge_sets_what_it_knows(header):
    text = render.render_role("nginx")[CONF + "kong_proxy.conf"]
    assert f"proxy_set_header {header};" in text


def test_a_log_line_names_request_upstream_time_and_node_and_no_query():
    text = render.render_role("nginx")[CONF + "nginx.conf"]
    for name in ("$request_id", "$upstream_response_time", "$upstream_http_x_ai_node", "$uri", "escape=json"):
        assert name in text
    assert "request_uri" not in re.sub(r"#[^\n]*", "", text)


@pytest.mark.parametrize("inventory", sorted(render.SOURCES))
def test_nginx_listens_on_port_80_of_the_node(inventory):
    address = render.hosts_running("nginx", inventory)[0]
    nginx = render.compose_of("nginx", inventory=inventory)["services"]["nginx"]
    assert nginx["ports"] == [f"{address}:80:80"], "443 comes with TLS"
    assert ("listen", ["80", "default_server"], None) in server(inventory=inventory)


def test_nginx_writes_to_memory_only():
    [http] = inner(front_door(), "http")
    written = {name: words[0] for name, words, _ in http if name.endswith("_temp_path")}
    assert len(written) == 5
    assert all(path.startswith("/tmp/") for path in written.values())


def test_nginx_needs_no_capability():
    nginx = render.compose_of("nginx")["services"]["nginx"]
    assert nginx["user"] == "101:101"
    assert nginx["cap_drop"] == ["ALL"]
    assert "cap_add" not in nginx


def test_streams_are_finished_before_nginx_stops():
    nginx = render.compose_of("nginx")["services"]["nginx"]
    assert nginx["stop_signal"] == "SIGQUIT"
    assert seconds(nginx["stop_grace_period"]) >= 60


def test_the_first_page_lists_the_ways_in():
    page = render.render_role("nginx")[CONF + "html/index.html"]
    for path in ("/api/v1/chat", "/api/v1/code", "/v1/", "/healthz"):
        assert path in page

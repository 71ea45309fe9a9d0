"""What nginx is told: the ingress of a node, made from what runs behind it."""

import re
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import render

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


GATEWAY, EDGE, PAGES = "PI51", "NANO", "ORIN0"


@cache
def ingress(node: str = GATEWAY, edge: str = "there") -> Block:
    """The configuration of a node; `edge` is there, drained or without nginx."""
    nodes = {entry["name"]: entry for entry in deepcopy(render.cluster("production"))}
    nodes[EDGE]["drained"] = edge == "drained"
    if edge == "without nginx":
        del nodes[EDGE]["services"]["nginx"]
    overrides = {"cluster_nodes": list(nodes.values())}
    files = render.render_role("nginx", host=nodes[node]["host"], overrides=overrides)
    return included(parse(files[CONF + "nginx.conf"]), files)


def inner(block: Block, name: str) -> list[Block]:
    return [found for directive, _, found in block if directive == name and found is not None]


def server(**which: Any) -> Block:
    [http] = inner(ingress(**which), "http")
    [found] = [block for block in inner(http, "server") if ("server_name", ["_"], None) in block]
    return found


def locations_of(block: Block) -> dict[str, dict[str, list[str]]]:
    """Location -> directive -> its (last) arguments."""
    found = [(" ".join(arguments), content) for name, arguments, content in block if name == "location"]
    return {place: {name: words for name, words, _ in content} for place, content in found}


def locations(**which: Any) -> dict[str, dict[str, list[str]]]:
    return locations_of(server(**which))


def values(location: str, directive: str, **which: Any) -> list[list[str]]:
    """The arguments of every such directive of a location."""
    place = ("location", location.split())
    [found] = [block for name, arguments, block in server(**which) if (name, arguments) == place]
    return [arguments for name, arguments, _ in found if name == directive]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# The ways in at the gateway that the edge can answer.
WAYS = ("= /api/v1/chat", "= /api/v1/code", "= /v1/chat/completions")


@pytest.mark.parametrize("location", ["/api/", "/v1/", "@kong_only"])
def test_a_service_behind_kong_sends_requests_nowhere_else(location):
    assert locations()[location]["proxy_ignore_headers"] == ["X-Accel-Redirect"]


@pytest.mark.parametrize(
    ("node", "location", "headers"),
    [(GATEWAY, "@edge", ["apikey", "Authorization"]), (PAGES, "/comfyui/", ["Authorization"])],
)
def test_a_key_or_password_stays_at_the_door(node, location, headers):
    for header in headers:
        assert [header, '""'] in values(location, "proxy_set_header", node=node)


def test_a_longer_timeout_of_kong_makes_nginx_wait_longer():
    files = render.render_role("nginx", overrides={"site_answer_timeout_s": 900})
    assert "proxy_read_timeout 920s;" in files[CONF + "kong_proxy.conf"]


def test_a_recreated_kong_is_found_within_seconds():
    [http] = inner(ingress(), "http")
    [resolver] = [words for name, words, _ in http if name == "resolver"]
    assert resolver[0] == "127.0.0.11"
    assert seconds(next(word for word in resolver if word.startswith("valid=")).removeprefix("valid=")) <= 5
    assert ["$kong", "kong"] in [words for name, words, _ in server() if name == "set"]
    servers = [words[0] for block in inner(http, "upstream") for name, words, _ in block if name == "server"]
    assert all(re.fullmatch(r"[\d.]+:\d+", one) for one in servers), "names there are resolved once"


def test_the_container_asks_for_the_health_of_nginx_itself():
    nginx = render.container("nginx")
    assert "http://127.0.0.1/healthz/nginx" in nginx["healthcheck"]["test"][-1]


# --- when no AI node answers ---


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_may_be_asked_twice_is_kept_in_memory_and_bigger_ones_are_not_kept(way):
    found = locations()[way]
    assert "proxy_request_buffering" not in found
    assert found["client_body_buffer_size"] == ["32k"]
    assert ["418", "=", "@kong_only"] in values(way, "error_page")
    assert found["recursive_error_pages"] == ["on"], "@kong_only has error pages of its own"
    [condition] = values(way, "if")
    assert condition == ["($edge_refuses_body)"]


def mapped(block: Block, result: str, text: str) -> str:
    """What nginx maps a text to; a regular expression's first match wins."""
    [entries] = [inner for name, words, inner in block if name == "map" and words[1] == result]
    for quoted, words, _ in entries:
        pattern = quoted.strip('"')
        flags = re.IGNORECASE if pattern.startswith("~*") else 0
        regex = pattern.lstrip("~*").replace("(?<", "(?P<")
        if re.search(regex, text, flags) if pattern.startswith("~") else pattern == text:
            return str(words[0])
    return next(str(words[0]) for pattern, words, _ in entries if pattern == "default")


@pytest.mark.parametrize(
    ("length", "kept"),
    [("0", True), ("9999", True), ("29999", True), ("30000", False), ("100000", False), ("", False)],
)
def test_what_is_kept_is_decided_by_length(length, kept):
    [http] = inner(ingress(), "http")
    assert (mapped(http, "$edge_refuses_body", length) == '""') is kept


@pytest.mark.parametrize(("body", "mapped_to"), [
    ('{"stream":false}', """'$edge_members,"model":"$edge_alias"}'"""),
    ('{"messages":[{"content":"}"}],\n "model":"gpt-oss"}\n', """'$edge_members,"model":"$edge_alias"}'"""),
    (" { } ", """'{"model":"$edge_alias"}'"""),
    ("[]", "$request_body"),
])  # fmt: skip
def test_the_edge_answers_with_its_own_model_whatever_was_asked_for(body, mapped_to):
    [http] = inner(ingress(), "http")
    assert mapped(http, "$edge_body", body) == mapped_to
    assert locations()["@edge"]["proxy_set_body"] == ["$edge_body"]


@pytest.mark.parametrize("edge", ["drained", "without nginx"])
def test_without_an_edge_the_gateway_keeps_no_body_and_goes_nowhere_else(edge):
    found = locations(edge=edge)
    assert not {*WAYS, "@edge", "@edge_away", "@kong_only"} & set(found)
    [http] = inner(ingress(edge=edge), "http")
    assert not inner(http, "upstream")


# --- the edge's own ingress ---

EDGE_WAYS = ("= /api/chat", "= /v1/chat/completions")


def test_the_edge_lets_nothing_through_but_inference():
    found = locations(node=EDGE)
    own = {"/", "= /healthz", "= /healthz/nginx", "= /portal/health"}
    assert set(found) == {*own, "@too_big", *EDGE_WAYS}
    assert "proxy_pass" not in found["/"]
    for way in EDGE_WAYS:
        assert ["($request_method", "!=", "POST)"] in values(way, "if", node=EDGE)


def test_a_stream_passes_the_cache_by():
    [http] = inner(ingress(node=EDGE), "http")
    kinds = {"application/json": '""', "text/event-stream": "no", "application/x-ndjson": "no"}
    assert {kind: mapped(http, "$ollama_streams", kind) for kind in kinds} == kinds
    [ollama] = [b for b in inner(http, "server") if ("listen", ["unix:/tmp/ollama.sock"], None) in b]
    inside = locations_of(ollama)["/"]
    assert inside["add_header"] == ["X-Accel-Buffering", "$ollama_streams", "always"]
    assert inside["proxy_buffering"] == ["off"]


def test_the_cache_is_in_memory_and_smaller_than_the_memory_it_is_in():
    host = next(node["host"] for node in render.cluster("production") if node["name"] == EDGE)
    nginx = render.container("nginx", host=host)
    [cache] = [mount for mount in nginx["tmpfs"] if mount.startswith("/var/cache/edge:")]
    assert "size=32m" in cache and "uid=101" in cache
    [http] = inner(ingress(node=EDGE), "http")
    [path] = [words for name, words, _ in http if name == "proxy_cache_path"]
    assert path[0] == "/var/cache/edge"
    assert "max_size=16m" in path
    assert int(nginx["mem_limit"].removesuffix("m")) >= 32 + 64


# --- pages behind nginx on another node ---


@pytest.mark.parametrize(("user", "users"), [
    pytest.param("operator", "/run/secrets/nginx/pages", id="its user"),
    pytest.param("operators", "/dev/null", id="a user of another page, in the same file"),
])  # fmt: skip
def test_comfyui_opens_to_its_own_user_only(user, users):
    [http] = inner(ingress(node=PAGES), "http")
    assert mapped(http, "$comfyui_users", user) == users


@pytest.mark.parametrize(("asked", "handed_on"), [
    ("/comfyui/", "/"),
    ("/comfyui/ws?clientId=a", "/ws?clientId=a"),
    ("/comfyui/api/userdata/workflows%2Fboat.json", "/api/userdata/workflows%2Fboat.json"),
    ("//comfyui/queue", None),
])  # fmt: skip
def test_comfyui_is_asked_letter_by_letter_without_the_path_of_the_page(asked, handed_on):
    [http] = inner(ingress(node=PAGES), "http")
    assert locations(node=PAGES)["/comfyui/"]["proxy_pass"] == ["http://$comfyui:7860$comfyui_uri"]
    [entries] = [block for name, words, block in http if name == "map" and words[1] == "$comfyui_uri"]
    pattern = next(name for name, _, _ in entries if name != "default").strip('"').lstrip("~")
    found = re.search(pattern.replace("(?<", "(?P<"), asked)
    assert (found and found["comfyui_rest"]) == handed_on


@pytest.mark.parametrize(("origin", "refused"), [
    pytest.param("", False, id="no browser, or a page that is opened"),
    pytest.param("http://10.0.0.3:8080", False, id="its own page"),
    pytest.param("http://evil.example", True, id="a page of somebody else's"),
    pytest.param("http://10.0.0.3", True, id="a page of another port"),
    pytest.param("null", True, id="a page without a name"),
])  # fmt: skip
def test_a_browsers_password_is_not_lent_to_other_pages(origin, refused):
    [http] = inner(ingress(node=PAGES), "http")
    assert (mapped(http, "$foreign_origin", f"{origin} 10.0.0.3:8080") == "1") is refused
    assert values("/comfyui/", "if", node=PAGES) == [["($foreign_origin)"]]


@pytest.mark.parametrize("location", ["/comfyui/", "/jupyter/"])
def test_a_page_may_have_websockets_and_takes_no_memory(location):
    found = locations(node=PAGES)[location]
    assert found["proxy_buffering"] == found["proxy_request_buffering"] == ["off"]
    given = {words[0]: words[1] for words in values(location, "proxy_set_header", node=PAGES)}
    assert (given["Upgrade"], given["Connection"]) == ("$websocket_upgrade", "$websocket_connection")
    assert given["Host"] == "$http_host"


def test_the_portal_links_pages_of_other_nodes_through_their_door():
    page = render.render_role("nginx")[CONF + "html/index.html"]
    for path in ("/comfyui/", "/jupyter/"):
        assert f'href="http://192.168.1.157:80{path}"' in page


def test_a_log_line_names_request_upstream_time_and_node_and_no_query():
    text = render.render_role("nginx")[CONF + "nginx.conf"]
    for name in ("$request_id", "$upstream_response_time", "$upstream_http_x_ai_node", "$uri", "escape=json"):
        assert name in text
    assert "request_uri" not in re.sub(r"#[^\n]*", "", text)

"""What nginx is told: the ingress of a node, made from what runs behind it."""

import re
from functools import cache
from typing import Any

import pytest
import render
from tables import cases

from aicluster.gateway.passwords import password_line
from aicluster.site.ingress import OWN_FOLDERS, ingress_pages

CONF = "/opt/aicluster/nginx/conf/"
SITE = render.site("production").hostvars["192.168.1.147"]["site_name"]
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
    """The configuration of a node; `edge` is there, drained or without nginx, or what else is so."""
    sites = {"without nginx": lambda: render.without("nginx", on=[EDGE]), "a node wakes": render.waking}
    site = sites.get(edge, render.without)()
    nodes = {entry["name"]: entry for entry in site["cluster_nodes"]}
    nodes[EDGE]["drained"] = edge == "drained"
    files = render.render_role("nginx", host=nodes[node]["host"], overrides=site)
    return included(parse(files[CONF + "nginx.conf"]), files)


def inner(block: Block, name: str) -> list[Block]:
    return [found for directive, _, found in block if directive == name and found is not None]


def http(**which: Any) -> Block:
    [found] = inner(ingress(**which), "http")
    return found


def servers(**which: Any) -> dict[str, Block]:
    """Port -> what is served there to others."""
    blocks = inner(http(**which), "server")
    listens = [(words[0], block) for block in blocks for name, words, _ in block if name == "listen"]
    return {port: block for port, block in listens if port.isdigit()}


def server(**which: Any) -> Block:
    return servers(**which)["80"]


def locations(**which: Any) -> dict[str, Block]:
    return {" ".join(words): inside or [] for name, words, inside in server(**which) if name == "location"}


def values(location: str, directive: str, **which: Any) -> list[list[str]]:
    return [words for name, words, _ in locations(**which)[location] if name == directive]


@pytest.mark.parametrize("location", ["/api/", "/v1/", "@kong_only"])
def test_a_service_behind_kong_sends_requests_nowhere_else(location):
    assert values(location, "proxy_ignore_headers") == [["X-Accel-Redirect"]]


@pytest.mark.parametrize("place", ["@too_big", "= /refused", "@edge_away", "@wake_away"])
def test_a_page_of_a_known_origin_can_read_what_nginx_itself_says(place):
    headers = values(place, "add_header", edge="a node wakes")
    assert ["Access-Control-Allow-Origin", "$page", "always"] in headers


@pytest.mark.parametrize(
    ("node", "location", "headers"),
    [
        (GATEWAY, "@edge", ["apikey", "Authorization"]),
        (GATEWAY, "/prometheus/", ["Authorization"]),
        (PAGES, "/comfyui/", ["Authorization"]),
    ],
)
def test_a_key_or_password_stays_at_the_door(node, location, headers):
    for header in headers:
        assert [header, '""'] in values(location, "proxy_set_header", node=node)


def test_no_page_may_take_a_path_that_nginx_has_itself():
    rendered = {
        words.split("/")[1]
        for node in (GATEWAY, EDGE, PAGES)
        for words in locations(node=node)
        if "/" in words
    }
    nodes, only_with_acme = render.cluster("production"), {".well-known"}
    pages = {page["path"].split("/")[1] for node in nodes for page in ingress_pages(node, nodes)}
    assert only_with_acme | rendered - pages - {""} == OWN_FOLDERS


@pytest.mark.parametrize("edge", ["drained", "without nginx"])
def test_without_an_edge_the_gateway_goes_nowhere_else(edge):
    assert not {"@edge", "@edge_away"} & set(locations(edge=edge))
    assert not inner(http(edge=edge), "upstream")


@pytest.mark.parametrize(("path", "profile"), [
    ("/api/v1/image", "image"), ("/api/v1/code/quality/", "quality"),
])  # fmt: skip
def test_the_node_of_a_service_that_sleeps_hears_the_token_and_nothing_of_the_client(path, profile):
    site = {"edge": "a node wakes"}
    assert ["$wake_at", f"192.168.1.157:8020/{profile}"] in values(path, "set", **site)
    assert not values(path, "proxy_ignore_headers", **site), "Kong decides"
    assert values("@wake", "proxy_pass", **site) == [["http://$wake_at"]]
    assert values("@wake", "proxy_pass_request_headers", **site) == [["off"]]
    assert values("@wake", "proxy_read_timeout", **site) == [["130s"]], "longer than it is held"
    assert values("@woken", "proxy_ignore_headers", **site) == [["X-Accel-Redirect"]], "once"


@pytest.mark.parametrize(("asked", "handed_on"), [
    ("/comfyui/api/userdata/workflows%2Fboat.json", "/api/userdata/workflows%2Fboat.json"),
    ("//comfyui/queue", None),
])  # fmt: skip
def test_comfyui_is_asked_letter_by_letter_without_the_path_of_the_page(asked, handed_on):
    assert values("/comfyui/", "proxy_pass", node=PAGES) == [["http://$comfyui:7860$comfyui_uri"]]
    [entries] = [
        block for name, words, block in http(node=PAGES) if name == "map" and words[1] == "$comfyui_uri"
    ]
    pattern = next(name for name, _, _ in entries if name != "default").strip('"').lstrip("~")
    found = re.search(pattern.replace("(?<", "(?P<"), asked)
    assert (found and found["comfyui_rest"]) == handed_on


@cases(("node", "path", "target"), {
    "a page of the node": (PAGES, "/comfyui/", "comfyui"),
    "the gateway's own": (GATEWAY, "/prometheus/", "prometheus"),
    "Alertmanager's, of another node": (GATEWAY, "/alerts/", "192.168.1.204"),
})  # fmt: skip
def test_a_page_without_a_login_is_for_administrators_and_not_for_pages_of_others(node, path, target):
    assert values(path, "auth_basic_user_file", node=node) == [["/run/secrets/nginx/pages"]]
    assert values(path, "if", node=node) == [["($foreign_origin)"]]
    [[url]] = values(path, "proxy_pass", node=node)
    service = url.removeprefix("http://$").partition(":")[0]
    assert [f"${service}", target] in [words for name, words, _ in server(node=node) if name == "set"]


ACME = {"nginx_acme_domains": ["ai.example.org", "www.example.org"], "nginx_acme_email": "ops@example.org"}


def test_pages_of_a_gateway_that_is_open_to_the_internet_are_shown_to_the_site_alone():
    site = render.without() | {"site_network": "192.168.1.0/24", "site_operators": ["10.8.0.2"]} | ACME
    [services] = [node["services"] for node in site["cluster_nodes"] if node["name"] == GATEWAY]
    services["nginx"]["ports"]["https"]["from"] = ["lan", "internet"]
    files = render.render_role("nginx", overrides=site)
    rules = [(name, *words) for name, words, _ in parse(files[CONF + "lan.conf"])]
    seen = ("192.168.1.0/24", "172.16.0.0/16", "10.8.0.2")
    assert rules == [*(("allow", network) for network in seen), ("deny", "all")]
    shown = parse("".join(files[CONF + f"locations/{name}.conf"] for name in ("ingress", "portal", "node")))
    closed = {
        " ".join(words) for _, words, block in shown if block and ("include", ["lan.conf"], None) in block
    }
    assert closed == {"/", "= /portal/health", "/grafana/", "/prometheus/", "/alerts/", "/logs/", "/redis/"}
    assert "allow" not in render.render_role("nginx")[CONF + "lan.conf"]


@pytest.mark.parametrize("node", [GATEWAY, PAGES])
def test_with_tls_the_same_is_served_and_nothing_old_is_spoken(node):
    plain, tls = (servers(node=node)[port] for port in ("80", "443"))
    served = [[entry for entry in block if entry[0] == "location"] for block in (plain, tls)]
    assert served[0] == served[1]
    assert ("ssl_protocols", ["TLSv1.2", "TLSv1.3"], None) in tls
    assert not [words for name, words, _ in tls if words[:1] == ["Strict-Transport-Security"]]


def test_a_browser_is_told_to_insist_on_tls_if_the_site_wants_that():
    files = render.render_role("nginx", overrides={"nginx_hsts_s": 600})
    assert 'add_header Strict-Transport-Security "max-age=600";' in files[CONF + "servers/https.conf"]


def test_whoever_asks_for_a_public_name_gets_the_certificate_of_the_acme_server():
    maps = parse(render.render_role("nginx", overrides=ACME)[CONF + "http/tls.conf"])
    [entries] = [block for _, words, block in maps if words == ["$ssl_server_name", "$tls"]]
    chosen = [first_match(entries, name) for name in ("www.example.org", "pi51.local", "")]
    assert chosen == ["acme.pem", "$own_tls", "$own_tls"]


# nginx_http -> 1 for a browser (portal) or a node (redirect), the path, and whether it is sent to port 443.
PORT_80: dict[str, tuple[str, str, str]] = {
    "a program is served": ("portal", " /api/v1/chat", ""),
    "a page a program asks for as well": ("portal", " /grafana/api/health", ""),
    "a person sees the portal": ("portal", "1 /", ""),
    "and gets the CA": ("portal", "1 /ca.crt", ""),
    "a person who opens another page is sent on": ("portal", "1 /grafana/", "1"),
    "also where the path only looks like the CA's": ("portal", "1 /ca.crt/x", "1"),
    "everybody is sent on": ("redirect", " /api/v1/chat", "1"),
    "who has no CA yet gets it": ("redirect", " /ca.html", ""),
    "the nodes of the site are served": ("redirect", "1 /portal/health", ""),
    "an ACME server gets its proof": ("redirect", " /.well-known/acme-challenge/x", ""),
    "and nothing beside it": ("redirect", " /.well-known/x", "1"),
}


@pytest.mark.parametrize(("mode", "asked", "sent_on"), [
    pytest.param(*row, id=f"{row[0]}: {name}") for name, row in PORT_80.items()
])  # fmt: skip
def test_port_80_does_what_the_site_says(mode, asked, sent_on):
    files = render.render_role("nginx", overrides=ACME | {"nginx_http": mode})
    [entries] = [
        block
        for name, words, block in parse(files[CONF + "http/tls.conf"])
        if name == "map" and words[1] == "$to_https"
    ]
    assert first_match(entries, asked).strip('"') == sent_on
    assert "return 307 https://$host$request_uri;" in files[CONF + "servers/http.conf"]


@pytest.mark.parametrize(("mode", "words"), [("serve", ()), ("closed", ("return 444", "if ($to_https)"))])
def test_port_80_serves_everybody_or_the_nodes_of_the_site_alone(mode, words):
    files = render.render_role("nginx", overrides={"nginx_http": mode})
    text = files[CONF + "servers/http.conf"]
    assert ("return" in text, all(word in text for word in words)) == (bool(words), True)
    known = re.findall(r"^  ([\d./]+) 1;$", files[CONF + "http/tls.conf"], re.MULTILINE)
    addresses = [node["address"] for node in render.cluster("production")]
    assert known == (["127.0.0.1", "172.16.0.0/16", *addresses] if words else [])


def test_a_log_line_names_no_query():
    text = render.render_role("nginx")[CONF + "nginx.conf"]
    assert "$uri" in text and "request_uri" not in re.sub(r"#[^\n]*", "", text)


def mapped(result: str, text: str, node: str) -> str:
    """What nginx maps a text to; a regular expression's first match wins."""
    [entries] = [inner for name, words, inner in http(node=node) if name == "map" and words[1] == result]
    return first_match(entries, text)


def first_match(entries: Block, text: str) -> str:
    for quoted, words, _ in entries:
        pattern = quoted.strip('"')
        flags = re.IGNORECASE if pattern.startswith("~*") else 0
        regex = pattern.lstrip("~*").replace("(?<", "(?P<")
        if re.search(regex, text, flags) if pattern.startswith("~") else pattern == text:
            return str(words[0])
    return next(str(words[0]) for pattern, words, _ in entries if pattern == "default")


ADMINS = render.with_users(
    {"name": "anna", "role": "admin", "keys": [{"name": "old", "until": "2020-01-01"}, {"name": "main"}]},
    {"name": "ben.b", "role": "user"},
    {"name": "carl", "role": "admin", "enabled": False},
    {"name": "dora", "role": "admin", "keys": [{"name": "old", "until": "2020-01-01"}]},
)


@pytest.mark.parametrize("node", [GATEWAY, PAGES])
def test_its_users_are_the_administrators_with_a_valid_key(node):
    hosts = {entry["name"]: entry["host"] for entry in render.cluster("production")}
    files = render.render_role("nginx", host=hosts[node], overrides=ADMINS)
    comment, *lines = files["/opt/aicluster/nginx/secrets/pages"].splitlines()
    assert comment.startswith("#")
    assert lines == [password_line("made-up-user-anna-main", "anna", SITE)]
    assert "asks for an administrator's name and key" in files[CONF + "html/index.html"]
    edge = render.render_role("nginx", host=hosts[EDGE], overrides=ADMINS)
    assert "/opt/aicluster/nginx/secrets/pages" not in edge, "it serves no such page"


EDGE_ADDS = """"model":"$edge_alias","options":{"num_ctx":2048}}'"""
WITH_ITS_MODEL = f"'$edge_members,{EDGE_ADDS}"
FOREIGN = "$foreign_origin"


@cases(("node", "variable", "text", "result"), {
    "a small body is kept to be asked again": (GATEWAY, "$is_not_kept", "29999", '""'),
    "a bigger one is not": (GATEWAY, "$is_not_kept", "30000", "1"),
    "nor one of unknown length": (GATEWAY, "$is_not_kept", "", "1"),
    "a page of an unknown origin may not call": (GATEWAY, "$page", "https://evil.example", '""'),
    "its browser is answered as anybody": (GATEWAY, "$is_asked_first", "OPTIONS ", '""'),
    "that of a known one is told so": (GATEWAY, "$is_asked_first", "OPTIONS https://chat.example", "1"),
    "its requests pass": (GATEWAY, "$is_asked_first", "POST https://chat.example", '""'),
    "OpenAI's errors are objects": (GATEWAY, "$error_begins", "GET /v1/x HTTP/9.9",
        """'{"error":{"message":"'"""),
    "Ollama's are texts": (GATEWAY, "$error_begins", "GET /api/x?/v1/ HTTP/1.1", """'{"error":"'"""),
    "the edge takes the model it was told": (GATEWAY, "$edge_body", '{"stream":false}', WITH_ITS_MODEL),
    "whatever model was asked for": (GATEWAY, "$edge_body",
        '{"messages":[{"content":"}"}],\n "model":"gpt-oss"}\n\0', WITH_ITS_MODEL),
    "an empty object gets no comma": (GATEWAY, "$edge_body", " { } ", "'{" + EDGE_ADDS),
    "what is no object stays": (GATEWAY, "$edge_body", "[]", "$request_body"),
    "an answer is cached": (EDGE, "$ollama_streams", "application/json", '""'),
    "events pass the cache by": (EDGE, "$ollama_streams", "text/event-stream", "no"),
    "Ollama's own stream, too": (EDGE, "$ollama_streams", "application/x-ndjson", "no"),
    "a page that is opened comes from nowhere": (PAGES, FOREIGN, " 10.0.0.3:8080", '""'),
    "its own page may ask": (PAGES, FOREIGN, "http://10.0.0.3:8080 10.0.0.3:8080", '""'),
    "a page of somebody else's may not": (PAGES, FOREIGN, "http://evil.example 10.0.0.3:8080", "1"),
    "its own page may ask with TLS": (PAGES, FOREIGN, "https://orin0.local orin0.local", '""'),
})  # fmt: skip
def test_nginx_decides(node, variable, text, result):
    assert mapped(variable, text, node) == result

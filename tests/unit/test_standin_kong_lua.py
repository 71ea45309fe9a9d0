"""Lua in the stand-in for Kong runs under LuaJIT, in Kong's sandbox, over Kong's plugin interface."""

import asyncio
import json

import pytest
import render
import yaml
from standin_kong import chat, config_of, kong, node, refusing, says
from standins.kong.kong_standin.lua_functions import new_runtime
from standins.kong.kong_standin.lua_json import Json

JSON = {"Content-Type": "application/json"}


def run_lua(*, plugin="pre-function", requests=1, answer=None, path="/chat", others=(), what=None, **phases):
    """Ask a gateway with these functions; return the last answer and the node."""

    async def run():
        async with node(answer) as one:
            functions = {"name": plugin, "config": {phase: [text] for phase, text in phases.items()}}
            tree = chat((one.address, 1), plugins=[functions, *others])
            async with kong(tree) as client:
                for _ in range(requests):
                    got = await client.ask(path=path, **(what or {}))
            return got, one

    return asyncio.run(run())


def said(text, **more):
    """What a function returns by `kong.response.exit(200, ...)`."""
    answer, _ = run_lua(access=f"kong.response.exit(200, {text})", **more)
    assert answer.status == 200, answer.body
    return answer.body.decode()


# --- the sandbox ---


def test_it_is_luajit():
    assert "LuaJIT" in new_runtime().eval("jit.version")


@pytest.mark.parametrize(
    "text",
    [
        "io.open('/etc/passwd')",
        "os.execute('true')",
        "setmetatable({}, {})",
        "require('resty.http')",
        "require('cjson')",
        "string.rep = nil",
        "loadstring('return 1')()",
        "getmetatable('').__index = nil",
        "python.eval('1')",
        "local f = kong.request.get_method; return f.__globals__",
    ],
)
def test_what_untrusted_lua_may_not_do_is_a_500(text):
    answer, one = run_lua(access=text)
    assert answer.status == 500
    assert json.loads(answer.body)["message"] == "An unexpected error occurred"
    assert not one.seen


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        pytest.param("access", "kong.request.get_hedaer('a')", id="a name Kong does not have"),
        pytest.param("rewrite", "error('x')", id="an error of its own"),
        pytest.param("access", "kong.service.response.get_status()", id="an answer before there is one"),
    ],
)
def test_a_mistake_is_a_500(phase, text):
    async def run():
        async with node() as one:
            functions = {"name": "pre-function", "config": {phase: [text]}}
            async with kong(chat((one.address, 1)) | {"plugins": [functions]}) as client:
                return (await client.ask()).status

    assert asyncio.run(run()) == 500


def test_a_mistake_in_header_filter_comes_too_late_to_change_the_answer():
    answer, _ = run_lua(header_filter="kong.service.request.set_header('a', 'b')")
    assert answer.status == 200


def test_a_chunk_that_returns_a_function_is_run_once_and_the_function_each_time():
    counting = "local n = 0; return function() n = n + 1; kong.response.exit(200, tostring(n)) end"
    answer, _ = run_lua(access=counting, requests=3)
    assert answer.body == b"3"


# --- the interface ---


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("kong.request.get_method()", "POST"),
        ("kong.request.get_path()", "/chat/a b"),
        ("kong.request.get_raw_path()", "/chat/a%20b"),
        ("kong.request.get_path_with_query()", "/chat/a%20b?q=1"),
        ("kong.request.get_query_arg('q')", "1"),
        ("kong.request.get_query().q", "1"),
        ("kong.request.get_header('x-test')", "yes"),
        ("kong.request.get_header('X_Test')", "yes"),
        ("kong.request.get_headers()['X-Test']", "yes"),
        ("tostring(kong.request.get_header('absent'))", "nil"),
        ("kong.request.get_raw_body()", '{"a": [1]}'),
        ("tostring(kong.request.get_body().a[1])", "1"),
        ("kong.client.get_forwarded_ip()", "127.0.0.1"),
        ("kong.router.get_route().name", "chat"),
        ("kong.router.get_service().name", "chat"),
        ("ngx.var.request_uri", "/chat/a%20b?q=1"),
        ("ngx.var.http_x_test", "yes"),
        ("ngx.encode_base64('kong')", "a29uZw=="),
        ("ngx.get_phase()", "access"),
    ],
)
def test_lua_sees_the_request(text, result):
    what = {"headers": {"X-Test": "yes"} | JSON, "data": '{"a": [1]}'}
    assert said(text, path="/chat/a%20b?q=1", what=what) == result


def test_lua_changes_what_the_node_gets():
    _, one = run_lua(
        access="""
            kong.service.request.set_header("X-Set", "value")
            kong.service.request.clear_header("Origin")
            kong.service.request.set_path("/api/generate")
            kong.service.request.set_raw_query("a=b")
            kong.service.request.set_raw_body("\\1\\255 new")
        """,
        what={"headers": {"Origin": "http://x"}, "data": "old"},
    )
    assert one.seen == [("POST /api/generate?a=b HTTP/1.1", b"\x01\xff new")]
    assert "X-Set: value\r\n" in one.heads[0]
    assert "Content-Length: 6\r\n" in one.heads[0]
    assert "origin:" not in one.heads[0].lower()


def test_an_exit_ends_the_request_and_later_functions_see_it():
    answer, one = run_lua(
        access='kong.response.exit(418, { error = "no" }, { ["X-Why"] = "tea" })',
        header_filter='kong.response.set_header("X-Source", kong.response.get_source())',
    )
    assert (answer.status, json.loads(answer.body)) == (418, {"error": "no"})
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert (answer.headers["X-Why"], answer.headers["X-Source"]) == ("tea", "exit")
    assert not one.seen


@pytest.mark.parametrize("plugin", ["pre-function", "post-function"])
def test_functions_run_before_or_after_the_other_plugins(plugin):
    answer, _ = run_lua(
        plugin=plugin, access="kong.response.exit(200)", others=[{"name": "key-auth", "config": {}}]
    )
    assert answer.status == (200 if plugin == "pre-function" else 401)


def test_a_request_carries_its_context_from_phase_to_phase_and_no_further():
    answer, _ = run_lua(
        access="kong.ctx.shared.n = (kong.ctx.shared.n or 0) + 1",
        header_filter='kong.response.set_header("X-N", kong.ctx.shared.n)',
        requests=3,
    )
    assert answer.headers["X-N"] == "1"


def test_after_retries_lua_knows_every_address():
    async def run():
        async with node(says(201)) as one:
            text = """
                local tries = ngx.ctx.balancer_data.tries
                kong.response.set_header("X-Addr", ngx.var.upstream_addr)
                kong.response.set_header("X-Tries", #tries .. ":" .. tostring(tries[1].code))
                kong.response.set_header("X-Source", kong.response.get_source())
            """
            functions = {"name": "post-function", "config": {"header_filter": [text]}}
            bad = refusing()
            async with kong(chat((bad, 1), (one.address, 1), plugins=[functions])) as client:
                answers = [await client.ask() for _ in range(2)]
            retried = next(a for a in answers if a.headers["X-Tries"].startswith("2"))
            return retried, f"{bad}, {one.address}"

    answer, addresses = asyncio.run(run())
    assert (answer.headers["X-Addr"], answer.headers["X-Tries"]) == (addresses, "2:502")
    assert answer.headers["X-Source"] == "service"


def test_when_no_node_answered_the_source_is_an_error():
    async def run():
        text = 'kong.response.set_header("X-Source", kong.response.get_source())'
        functions = {"name": "post-function", "config": {"header_filter": [text]}}
        async with kong(chat((refusing(), 1), plugins=[functions])) as client:
            return await client.ask()

    assert asyncio.run(run()).headers["X-Source"] == "error"


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [("other", 200, None), ("gone", 404, "could not find an Upstream named 'gone'")],
    ids=["an upstream that is there", "one that is not"],
)
def test_lua_chooses_the_upstream(name, status, message):
    async def run():
        async with node() as one, node() as two:
            text = f"""
                local ok, problem = kong.service.set_upstream("{name}")
                if not ok then kong.response.exit(404, problem) end
            """
            tree = chat((one.address, 1), plugins=[{"name": "pre-function", "config": {"access": [text]}}])
            tree["upstreams"].append({"name": "other", "targets": [{"target": two.address}]})
            async with kong(tree) as client:
                return await client.ask(), len(one.seen), len(two.seen)

    answer, first, second = asyncio.run(run())
    assert (answer.status, first, second) == (status, 0, 1 if status == 200 else 0)
    if message:
        assert answer.body.decode() == message


# --- cjson.safe ---


@pytest.mark.parametrize(
    ("text", "again"),
    [
        pytest.param('{"a":[1,2.5,true,null,"x"]}', '{"a":[1,2.5,true,null,"x"]}', id="all kinds of values"),
        pytest.param("[]", "{}", id="an empty array becomes an object"),
        pytest.param("12345678901234567", "1.234567890123457e+16", id="big numbers lose digits"),
        pytest.param('"é/"', '"é\\/"', id="slashes are escaped, letters are not"),
    ],
)
def test_json_goes_through_lua_as_through_cjson(text, again):
    codec = Json(new_runtime())
    raw = text.encode().decode("latin-1")
    assert codec.encode(codec.decode(raw)).encode("latin-1").decode() == again


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", '"\x01"'])
def test_what_is_no_json_is_nil_and_a_message(text):
    nothing, message = Json(new_runtime()).decode(text)
    assert nothing is None
    assert message


def test_null_is_a_value_of_its_own_and_empty_arrays_can_be_made():
    code = """
        local json = require "cjson.safe"
        local value = json.decode('{"model": null}')
        kong.response.exit(200, json.encode({ value.model == json.null, json.empty_array }))
    """
    answer, _ = run_lua(access=code)
    assert json.loads(answer.body) == [True, []]


# --- the Lua that ships, in the gateway that ships ---


def shipped(addresses):
    """The lab's file with its nodes at these addresses, in order."""
    text = render.render_role("kong", inventory="lab")["/opt/aicluster/kong/secrets/kong.yml"]
    names = [target["target"] for target in yaml.safe_load(text)["upstreams"][0]["targets"]]
    for name, address in zip(names, addresses, strict=True):
        text = text.replace(name, address)
    tree = yaml.safe_load(text)
    key = tree["consumers"][0]["keyauth_credentials"][0]["key"]
    for service in tree["services"]:
        for route in service["routes"]:
            for plugin in route["plugins"]:
                if plugin["name"] == "rate-limiting":
                    plugin["config"] = {"minute": 1000, "policy": "local"}
    return tree, key


def test_a_chat_without_a_model_gets_the_alias_and_the_answer_names_its_node():
    async def run():
        async with node() as agx0, node() as orin0:
            tree, key = shipped([agx0.address, orin0.address])
            assert config_of(tree).upstreams
            async with kong(tree) as client:
                answers = [
                    await client.ask(path="/api/v1/chat", data='{"stream":false}', headers={"apikey": key})
                    for _ in range(5)
                ]
                refused = await client.ask(path="/api/v1/chat", data="{}")
            return [answer.headers["X-AI-Node"] for answer in answers], agx0.seen, orin0.seen, refused

    names, big, small, refused = asyncio.run(run())
    assert (names.count("AGX0"), names.count("ORIN0")) == (4, 1)
    assert set(big + small) == {("POST /api/chat HTTP/1.1", b'{"stream":false,"model":"chat"}')}
    assert refused.status == 401
    assert "X-AI-Node" not in refused.headers

"""The module `ollama_model` against a server that speaks the pull protocol, with every way it breaks."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from listening import Listening

# By path: the action plugin has the same name.
_spec = importlib.util.spec_from_file_location(
    "ollama_model_module", Path(__file__).parents[2] / "library" / "ollama_model.py"
)
assert _spec and _spec.loader
ollama_model: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ollama_model)

GIGA, MEGA = 10**9, 10**6
LAYER = "sha256:" + "6e" * 32
MANIFEST = b'{"schemaVersion":2,"layers":[]}'
MANIFEST_DIGEST = hashlib.sha256(MANIFEST).hexdigest()

Line = dict[str, Any]
# What a scripted pull may do besides sending lines.
HANG_UP, STALL = "hang up", "stall"
# So long that no busy machine stalls by itself.
STALL_S = 2


def pulling(completed: float, total: float = 2 * GIGA, digest: str = LAYER) -> Line:
    return {
        "status": f"pulling {digest[7:19]}",
        "digest": digest,
        "total": int(total),
        "completed": int(completed),
    }


MANIFEST_LINE = {"status": "pulling manifest"}
CLOSING = [
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]
WHOLE = [MANIFEST_LINE, pulling(0), pulling(GIGA), pulling(2 * GIGA), *CLOSING]


class FakeOllama:
    """A server whose pulls follow a script: one list of lines (or an int status and text) per attempt."""

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.registry: dict[str, str] = {}
        self.scripts: list[Any] = []
        # What it offers as a mirror: repository:tag.
        self.offers: set[str] = set()
        self.requests: list[tuple[str, str, Any]] = []
        self.cut = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def body(self) -> Any:
                return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")

            def do_GET(self) -> None:
                outer.requests.append(("GET", self.path, None))
                if self.path == "/api/tags":
                    listed = [{"name": n, "model": n, "digest": d} for n, d in outer.models.items()]
                    self.answer(200, json.dumps({"models": listed}).encode())
                elif self.path.startswith("/v2/"):
                    self.answer(200, MANIFEST)
                else:
                    self.answer(404, b"404 page not found")

            def do_HEAD(self) -> None:
                outer.requests.append(("HEAD", self.path, None))
                repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
                self.send_response(200 if f"{repository}:{tag}" in outer.offers else 404)
                self.end_headers()

            def do_DELETE(self) -> None:
                body = self.body()
                outer.requests.append(("DELETE", self.path, body))
                gone = outer.models.pop(ollama_model.normalise(body["model"]), None)
                self.answer(200 if gone else 404, b"" if gone else b'{"error":"model not found"}')

            def do_POST(self) -> None:
                body = self.body()
                outer.requests.append(("POST", self.path, body))
                if self.path == "/api/copy":
                    source, name = (ollama_model.normalise(body[k]) for k in ("source", "destination"))
                    outer.models[name] = outer.models[source]
                    self.answer(200, b"")
                else:
                    self.pull(ollama_model.normalise(body["model"]))

            def pull(self, name: str) -> None:
                script = outer.scripts.pop(0) if outer.scripts else WHOLE
                if isinstance(script, tuple):
                    self.answer(script[0], script[1].encode())
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for step in script:
                    if step == HANG_UP:
                        self.close_connection = True
                        return
                    if step == STALL:
                        time.sleep(STALL_S + 1)
                        self.close_connection = True
                        return
                    if step == {"status": "success"}:
                        outer.models[name] = outer.registry.get(
                            name, hashlib.sha256(name.encode()).hexdigest()
                        )
                    try:
                        self.chunk(json.dumps(step).encode() + b"\n")
                    except OSError:
                        outer.cut.set()
                        self.close_connection = True
                        return
                self.wfile.write(b"0\r\n\r\n")

            def chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
                time.sleep(0.01)

        self.server = Listening(Handler)
        self.port, self.url = self.server.server_port, self.server.url
        self.mirror = f"127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Any]:
        return [body for _, asked, body in self.requests if asked == path]


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    fake = FakeOllama()
    with fake.server:
        yield fake


@pytest.fixture
def run(ollama: FakeOllama, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run the module's real entry point; models may be given as plain names."""

    def call(models: list[Any] | None = None, *, check: bool = False, **more: Any) -> dict[str, Any]:
        listed = [{"name": m} if isinstance(m, str) else m for m in models or []]
        arguments = {
            "url": ollama.url,
            "models": listed,
            "backoff_s": 0.01,
            "attempts": 3,
            "stall_s": STALL_S,
        }
        arguments.update(more, _ansible_check_mode=check)
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ollama_model.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        pytest.param("llama3.2", "llama3.2:latest", id="no tag means latest"),
        pytest.param("codellama:34b", "codellama:34b", id="a tag stays"),
        pytest.param("library/Phi3:mini", "phi3:mini", id="the default namespace and capitals go"),
        pytest.param("registry.ollama.ai/library/phi3", "phi3:latest", id="the default registry goes"),
        pytest.param(
            "pi52.lan:5000/library/phi3", "pi52.lan:5000/library/phi3:latest", id="a port is not a tag"
        ),
    ],
)
def test_names_become_what_the_server_lists(written: str, listed: str) -> None:
    assert ollama_model.normalise(written) == listed


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("phi3:mini", ("registry.ollama.ai", "library/phi3", "mini")),
        ("me/mine:latest", ("registry.ollama.ai", "me/mine", "latest")),
        ("pi52.lan:5000/library/phi3:mini", ("pi52.lan:5000", "library/phi3", "mini")),
    ],
)
def test_names_become_registry_addresses(name: str, address: tuple[str, str, str]) -> None:
    assert ollama_model.registry_address(name) == address


class TestPresent:
    def test_a_missing_model_is_pulled(self, run: Any) -> None:
        result = run(["llama3.2"])
        assert (result["changed"], result["finished"], result["pulled"]) == (True, True, ["llama3.2"])
        assert result["diff"]["before"] == ""
        assert result["diff"]["after"].startswith("llama3.2:latest ")

    def test_a_model_that_is_there_costs_one_request(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"llama3.2:latest": "d1", "chat:latest": "d1"}
        result = run(["llama3.2"], aliases={"chat": "llama3.2"})
        assert not result["changed"]
        assert ollama.requests == [("GET", "/api/tags", None)]
        assert result["diff"]["before"] == result["diff"]["after"]

    def test_several_models_and_aliases_need_one_call(self, ollama: FakeOllama, run: Any) -> None:
        result = run(["gpt-oss", "codellama:34b"], aliases={"chat": "gpt-oss", "code": "codellama:34b"})
        assert result["pulled"] == ["gpt-oss", "codellama:34b"]
        assert result["aliased"] == ["chat -> gpt-oss", "code -> codellama:34b"]
        assert ollama.models["chat:latest"] == ollama.models["gpt-oss:latest"]
        assert not run(["gpt-oss", "codellama:34b"], aliases={"chat": "gpt-oss", "code": "codellama:34b"})[
            "changed"
        ]

    def test_models_that_are_not_listed_stay(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"mine:latest": "d"}
        run(["phi3:mini"])
        assert "mine:latest" in ollama.models


class TestLatest:
    def test_a_newer_model_is_a_change(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "old"}
        result = run([{"name": "phi3:mini", "state": "latest"}])
        assert (result["changed"], result["pulled"], result["checked"]) == (
            True,
            ["phi3:mini"],
            ["phi3:mini"],
        )

    def test_the_same_digest_after_the_pull_is_no_change(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "same"}
        ollama.registry = {"phi3:mini": "same"}
        result = run([{"name": "phi3:mini", "state": "latest"}])
        assert (result["changed"], result["checked"]) == (False, ["phi3:mini"])

    def test_its_alias_follows(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "old", "chat:latest": "old"}
        result = run([{"name": "phi3:mini", "state": "latest"}], aliases={"chat": "phi3:mini"})
        assert result["aliased"] == ["chat -> phi3:mini"]

    @pytest.mark.parametrize(("digest", "changed"), [("old", True), (MANIFEST_DIGEST, False)])
    def test_check_mode_asks_the_registry(
        self, ollama: FakeOllama, run: Any, digest: str, changed: bool
    ) -> None:
        name = f"127.0.0.1:{ollama.port}/library/phi3:mini"
        ollama.models = {name: digest}
        result = run([{"name": name, "state": "latest"}], check=True, insecure=True)
        assert result["changed"] is changed
        assert not ollama.asked("/api/pull")

    def test_check_mode_without_a_registry_says_so(
        self, ollama: FakeOllama, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warnings: list[str] = []
        monkeypatch.setattr(ollama_model.AnsibleModule, "warn", lambda _, text: warnings.append(text))
        ollama.models = {"127.0.0.1:9/library/phi3:mini": "old"}
        result = run(
            [{"name": "127.0.0.1:9/library/phi3:mini", "state": "latest"}], check=True, insecure=True
        )
        assert not result["changed"]
        assert "cannot tell whether the registry has a newer one" in warnings[0]


class TestAbsent:
    def test_it_is_deleted_and_then_gone(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "d", "chat:latest": "d"}
        assert run([{"name": "phi3:mini", "state": "absent"}])["removed"] == ["phi3:mini"]
        assert not run([{"name": "phi3:mini", "state": "absent"}])["changed"]
        assert ollama.models == {"chat:latest": "d"}

    def test_it_makes_room_before_anything_is_pulled(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "d"}
        run(["llama3.2", {"name": "phi3:mini", "state": "absent"}])
        paths = [path for _, path, _ in ollama.requests]
        assert paths.index("/api/delete") < paths.index("/api/pull")


class TestAliases:
    def test_an_alias_with_another_digest_is_made_again(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "new", "chat:latest": "old"}
        result = run(aliases={"chat": "phi3:mini"})
        assert result["aliased"] == ["chat -> phi3:mini"]
        assert result["diff"] == {"before": "chat:latest -> old\n", "after": "chat:latest -> phi3:mini\n"}

    def test_an_alias_of_nothing_is_refused_before_any_change(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "d"}
        result = run(["llama3.2"], aliases={"chat": "gpt-oss"})
        assert result["failed"]
        assert "chat -> gpt-oss" in result["msg"] and "choose one of: " in result["msg"]
        assert not ollama.asked("/api/pull")


class TestCheckMode:
    def test_it_predicts_everything_and_touches_nothing(self, ollama: FakeOllama, run: Any) -> None:
        ollama.models = {"phi3:mini": "d"}
        models = ["gpt-oss", {"name": "phi3:mini", "state": "absent"}]
        aliases = {"chat": "gpt-oss"}
        predicted = run(models, check=True, aliases=aliases)
        assert {method for method, _, _ in ollama.requests} == {"GET"}
        real = run(models, aliases=aliases)
        for key in ("changed", "pulled", "removed", "aliased"):
            assert predicted[key] == real[key]
        assert not run(models, check=True, aliases=aliases)["changed"]


class TestBrokenStreams:
    @pytest.mark.parametrize(
        "first_attempt",
        [
            pytest.param([MANIFEST_LINE, pulling(0), pulling(GIGA), HANG_UP], id="the connection is lost"),
            pytest.param([MANIFEST_LINE, pulling(0), pulling(GIGA)], id="the stream ends without success"),
            pytest.param([MANIFEST_LINE, pulling(GIGA), STALL], id="nothing comes any more"),
            pytest.param(
                [pulling(GIGA), {"error": "max retries exceeded: EOF"}], id="an error line in mid-stream"
            ),
            pytest.param((500, '{"error":"pull model manifest: dial tcp: i/o timeout"}'), id="a 500"),
            pytest.param((429, '{"error":"too many requests"}'), id="too many requests"),
        ],
    )
    def test_the_pull_is_taken_up_again_after(self, ollama: FakeOllama, run: Any, first_attempt: Any) -> None:
        ollama.scripts = [first_attempt]
        result = run(["phi3:mini"])
        assert (result["changed"], result["pulled"]) == (True, ["phi3:mini"])
        assert len(ollama.asked("/api/pull")) == 2

    def test_attempts_count_only_while_no_byte_arrives(self, ollama: FakeOllama, run: Any) -> None:
        ollama.scripts = [[pulling(step * 1e8), pulling((step + 1) * 1e8), HANG_UP] for step in range(6)]
        assert run(["phi3:mini"], attempts=3)["changed"]
        assert len(ollama.asked("/api/pull")) == 7

    def test_it_gives_up_when_nothing_arrives(self, ollama: FakeOllama, run: Any) -> None:
        ollama.scripts = [[pulling(GIGA), HANG_UP]] * 3
        message = run(["phi3:mini"])["msg"]
        assert (
            f"model phi3:mini: {ollama.url} gave up after 3 attempts without a new byte, at 50 % of 2.0 GB"
            in message
        )
        assert "run the playbook again: it goes on where it stopped" in message

    def test_a_long_verification_is_not_a_stall(self, ollama: FakeOllama, run: Any) -> None:
        ollama.scripts = [
            [pulling(GIGA), {"status": "verifying sha256 digest"}, *[{}] * 250, {"status": "success"}]
        ]
        assert run(["phi3:mini"], verify_s=30)["changed"]
        assert len(ollama.asked("/api/pull")) == 1

    @pytest.mark.parametrize(
        ("script", "cure"),
        [
            pytest.param(
                (500, '{"error":"pull model manifest: file does not exist"}'),
                "look up name and tag",
                id="no such model",
            ),
            pytest.param(
                [pulling(GIGA), {"error": "write /root/.ollama: no space left on device"}],
                "take models off ollama_models",
                id="a full disk",
            ),
            pytest.param(
                (412, '{"error":"requires a newer version of Ollama"}'),
                "raise the ollama image",
                id="an old server",
            ),
            pytest.param(
                [{"error": "digest mismatch, file must be downloaded again"}],
                "was damaged",
                id="damaged bytes",
            ),
            pytest.param(
                (404, "404 page not found"), "is this an Ollama server?", id="a server of another kind"
            ),
        ],
    )
    def test_what_trying_again_cannot_cure_fails_at_once(
        self, ollama: FakeOllama, run: Any, script: Any, cure: str
    ) -> None:
        ollama.scripts = [script]
        result = run(["phi3:mini"])
        assert result["failed"]
        assert "phi3:mini" in result["msg"] and ollama.url in result["msg"] and cure in result["msg"]
        assert len(ollama.asked("/api/pull")) == 1

    def test_success_without_a_model_is_a_failure(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ollama_model.Server, "tags", lambda _: {})
        assert "reported success but does not list it" in run(["phi3:mini"])["msg"]

    def test_nobody_at_the_address_is_said(self, run: Any) -> None:
        message = run(["phi3:mini"], url="http://127.0.0.1:9")["msg"]
        assert "http://127.0.0.1:9 does not answer (ConnectionRefusedError" in message

    def test_something_else_at_the_address_is_said(self, ollama: FakeOllama, run: Any) -> None:
        assert "Is this an Ollama server?" in run(["phi3:mini"], url=ollama.url + "/else")["msg"]


class TestMirrors:
    def test_a_model_is_copied_from_the_first_mirror_that_has_it(self, ollama: FakeOllama, run: Any) -> None:
        ollama.offers = {"library/phi3:mini"}
        ollama.models = {"mine:latest": "d"}
        there = f"{ollama.mirror}/library/phi3:mini"
        result = run(["phi3:mini"], mirrors=["127.0.0.1:9", ollama.mirror])
        assert [(body["model"], body["insecure"]) for body in ollama.asked("/api/pull")] == [(there, True)]
        assert result["copied"] == [f"phi3:mini from {ollama.mirror}"]
        assert (result["changed"], result["pulled"]) == (True, ["phi3:mini"])
        assert set(ollama.models) == {"mine:latest", "phi3:mini"}, "its name on the mirror is gone"

    @pytest.mark.parametrize(
        ("model", "asked"),
        [
            pytest.param({"name": "phi3:mini"}, True, id="a mirror that lacks it was asked"),
            pytest.param({"name": "phi3:mini", "state": "latest"}, False, id="the latest is on the internet"),
            pytest.param({"name": "hf.co/me/phi3:mini"}, False, id="a registry of its own"),
        ],
    )
    def test_what_no_mirror_has_comes_from_its_own_registry(
        self, ollama: FakeOllama, run: Any, model: Line, asked: bool
    ) -> None:
        result = run([model], mirrors=[ollama.mirror])
        assert [body["model"] for body in ollama.asked("/api/pull")] == [model["name"]]
        assert [body["insecure"] for body in ollama.asked("/api/pull")] == [False]
        assert bool([1 for method, _, _ in ollama.requests if method == "HEAD"]) is asked
        assert result["copied"] == []

    def test_capitals_stay_because_a_registry_knows_no_others(self, ollama: FakeOllama, run: Any) -> None:
        ollama.offers = {"library/llama3.2:1b-q4_K_M"}
        assert run(["llama3.2:1b-q4_K_M"], mirrors=[ollama.mirror])["copied"]

    @pytest.mark.parametrize(
        "first",
        [
            pytest.param([{"error": "http: no Location header in response"}], id="no Location"),
            pytest.param(
                [{"error": "digest mismatch, file must be downloaded again: want a"}], id="damaged bytes"
            ),
            pytest.param([{"error": "pull model manifest: file does not exist"}], id="gone meanwhile"),
        ],
    )
    def test_a_mirror_that_fails_is_passed_over_and_named(
        self, ollama: FakeOllama, run: Any, first: Any
    ) -> None:
        ollama.offers = {"library/phi3:mini"}
        ollama.scripts = [first]
        there = f"{ollama.mirror}/library/phi3:mini"
        result = run(["phi3:mini"], mirrors=[ollama.mirror])
        assert [body["model"] for body in ollama.asked("/api/pull")] == [there, "phi3:mini"]
        assert (result["pulled"], result["copied"]) == (["phi3:mini"], [])
        assert [one["name"] for one in result["given_up"]] == [there]
        assert first[0]["error"] in result["given_up"][0]["why"]

    def test_a_mirror_that_breaks_off_is_taken_up_and_then_passed_over(
        self, ollama: FakeOllama, run: Any
    ) -> None:
        ollama.offers = {"library/phi3:mini"}
        ollama.scripts = [[pulling(GIGA), HANG_UP]] * 3
        result = run(["phi3:mini"], mirrors=[ollama.mirror], attempts=3)
        assert len(ollama.asked("/api/pull")) == 4
        assert "gave up after 3 attempts" in result["given_up"][0]["why"]
        assert result["pulled"] == ["phi3:mini"]

    def test_a_name_that_failed_in_an_earlier_call_is_not_tried_again(
        self, ollama: FakeOllama, run: Any
    ) -> None:
        ollama.offers = {"library/phi3:mini"}
        avoid = [f"{ollama.mirror}/library/phi3:mini"]
        assert run(["phi3:mini"], mirrors=[ollama.mirror], avoid=avoid)["copied"] == []

    def test_a_full_disk_is_not_the_mirrors_fault(self, ollama: FakeOllama, run: Any) -> None:
        ollama.offers = {"library/phi3:mini"}
        ollama.scripts = [[{"error": "write /root/.ollama: no space left on device"}]]
        assert run(["phi3:mini"], mirrors=[ollama.mirror])["failed"]
        assert len(ollama.asked("/api/pull")) == 1

    def test_a_run_that_ended_between_the_two_names_is_made_up_for(
        self, ollama: FakeOllama, run: Any
    ) -> None:
        there = f"{ollama.mirror}/library/phi3:mini"
        ollama.models = {"phi3:mini": "d", there: "d"}
        predicted = run(["phi3:mini"], mirrors=[ollama.mirror], check=True)
        result = run(["phi3:mini"], mirrors=[ollama.mirror])
        assert result["removed"] == predicted["removed"] == [there]
        assert ollama.models == {"phi3:mini": "d"}

    def test_progress_says_where_it_comes_from(self, ollama: FakeOllama, run: Any) -> None:
        ollama.offers = {"library/phi3:mini"}
        ollama.scripts = [[pulling(step * 1e7, 19 * GIGA) for step in range(300)]]
        progress = run(["phi3:mini"], mirrors=[ollama.mirror], slice_s=0.2)["progress"]
        assert (progress["model"], progress["origin"]) == ("phi3:mini", ollama.mirror)


class TestDisk:
    @pytest.fixture(autouse=True)
    def ten_gb_are_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = SimpleNamespace(f_bavail=10 * MEGA, f_frsize=1000)
        monkeypatch.setattr(ollama_model.os, "statvfs", lambda _: found)

    def test_models_that_do_not_fit_are_refused_before_the_first_byte(
        self, ollama: FakeOllama, run: Any, tmp_path: Path
    ) -> None:
        models = [{"name": "a", "size_gb": 4}, {"name": "b", "size_gb": 4.5}]
        for check in (True, False):
            result = run(models, disk_path=str(tmp_path), check=check)
            assert result["failed"]
            assert result["msg"].startswith(
                "2 models refused before the first byte (a 4.0 + b 4.5 GB), 8.5 GB to come: must fit into "
                f"the 8.0 GB that the disk of {tmp_path} has left beside a reserve of 2.0 GB; free some there"
            )
        assert not ollama.asked("/api/pull")

    @pytest.mark.parametrize(
        ("models", "there"),
        [
            pytest.param([{"name": "a", "size_gb": 8}], {}, id="to the last byte"),
            pytest.param([{"name": "a", "size_gb": 90}], {"a:latest": "d"}, id="what is there needs nothing"),
            pytest.param(
                [{"name": "a", "size_gb": 90, "state": "absent"}],
                {"a:latest": "d"},
                id="what goes needs nothing",
            ),
        ],
    )
    def test_what_fits_is_done(
        self, ollama: FakeOllama, run: Any, tmp_path: Path, models: Any, there: Any
    ) -> None:
        ollama.models = dict(there)
        assert not run(models, disk_path=str(tmp_path)).get("failed")

    def test_what_is_there_in_part_needs_only_the_rest(
        self, ollama: FakeOllama, run: Any, tmp_path: Path
    ) -> None:
        blobs = tmp_path / "models" / "blobs"
        blobs.mkdir(parents=True)
        part = blobs / ("sha256-" + "6e" * 32 + "-partial")
        part.write_bytes(b"x" * 3_000_000)
        with part.open("r+b") as file:
            file.truncate(9 * GIGA)  # sparse, as Ollama's are
        model = {"name": "a", "size_gb": 8.002}
        assert not run([model], disk_path=str(tmp_path)).get("failed")
        part.unlink()
        ollama.models = {}
        assert "8.0 GB to come" in run([model], disk_path=str(tmp_path))["msg"]

    def test_a_model_bigger_than_declared_is_stopped_at_its_layer(
        self, ollama: FakeOllama, run: Any, tmp_path: Path
    ) -> None:
        ollama.scripts = [[pulling(0, MEGA, "sha256:" + "22" * 32), *[pulling(0, 9 * GIGA)] * 50]]
        result = run([{"name": "a", "size_gb": 1}], disk_path=str(tmp_path))
        assert result["msg"].startswith(
            "model a stopped before its layer 6e6e6e6e6e6e, 9.0 GB to come: must fit"
        )
        assert ollama.cut.wait(2), "hanging up is what stops the server's download"

    def test_a_layer_that_is_there_in_part_needs_only_the_rest(
        self, ollama: FakeOllama, run: Any, tmp_path: Path
    ) -> None:
        ollama.scripts = [[pulling(7 * GIGA, 12 * GIGA), pulling(12 * GIGA, 12 * GIGA), *CLOSING]]
        assert run([{"name": "a", "size_gb": 1}], disk_path=str(tmp_path))["changed"]

    def test_an_update_is_reckoned_with_if_the_registry_has_one(
        self, ollama: FakeOllama, run: Any, tmp_path: Path
    ) -> None:
        name = f"{ollama.mirror}/library/phi3:mini"
        model = {"name": name, "state": "latest", "size_gb": 9}
        for digest, refused in ((MANIFEST_DIGEST, False), ("old", True)):
            ollama.models = {name: digest}
            result = run([model], disk_path=str(tmp_path), insecure=True)
            assert bool(result.get("failed")) is refused

    def test_the_disk_of_a_volume_is_asked_of_docker(
        self, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[list[str]] = []

        def docker(_: Any, command: list[str]) -> tuple[int, str, str]:
            asked.append(command)
            return 0, f"{tmp_path}\n", ""

        monkeypatch.setattr(ollama_model.AnsibleModule, "run_command", docker)
        result = run([{"name": "a", "size_gb": 9}], volume="aicluster_ollama")
        assert f"the disk of {tmp_path}" in result["msg"]
        assert asked[0][:3] == ["docker", "volume", "inspect"] and asked[0][-1] == "aicluster_ollama"

    def test_a_volume_that_is_not_there_is_said(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            ollama_model.AnsibleModule, "run_command", lambda *_: (1, "", "Error: no such volume: x\n")
        )
        assert "volume x: cannot be asked for its disk (Error: no such volume: x)" in run(volume="x")["msg"]


class TestSlices:
    def test_a_long_pull_returns_with_its_progress(self, ollama: FakeOllama, run: Any) -> None:
        ollama.scripts = [[pulling(step * 1e7, 19 * GIGA) for step in range(300)]]
        result = run(["codellama:34b"], slice_s=0.3)
        assert (result["finished"], result["changed"]) == (False, False)
        progress = result["progress"]
        assert progress["model"] == "codellama:34b"
        assert progress["total"] == 19 * GIGA
        assert 0 < progress["completed"] < 3 * GIGA
        assert progress["rate"] > 0
        assert ollama.cut.wait(2), "hanging up is what stops the server's download"

    def test_a_model_is_not_begun_after_the_slice(self, ollama: FakeOllama, run: Any) -> None:
        ollama.scripts = [[pulling(0, MEGA), *CLOSING]]
        result = run(["phi3:mini", {"name": "codellama:34b", "size_gb": 19.1}], slice_s=0.01)
        assert (result["pulled"], result["finished"]) == (["phi3:mini"], False)
        assert result["progress"] == {
            "model": "codellama:34b",
            "origin": "",
            "completed": 0,
            "total": 19_100_000_000,
            "rate": 0,
        }

    def test_aliases_wait_for_the_last_slice(self, ollama: FakeOllama, run: Any) -> None:
        ollama.scripts = [[pulling(step * 1e7, 19 * GIGA) for step in range(300)]]
        first = run(["codellama:34b"], aliases={"code": "codellama:34b"}, slice_s=0.1)
        second = run(["codellama:34b"], aliases={"code": "codellama:34b"}, slice_s=5)
        assert (first["aliased"], second["aliased"]) == ([], ["code -> codellama:34b"])

    def test_models_behind_aliases_come_first_and_get_them_at_once(
        self, ollama: FakeOllama, run: Any
    ) -> None:
        ollama.scripts = [WHOLE, [pulling(step * 1e7, 19 * GIGA) for step in range(300)]]
        result = run(["codellama:34b", "phi3:mini"], aliases={"chat": "phi3:mini"}, slice_s=0.2)
        assert (result["finished"], result["pulled"]) == (False, ["phi3:mini"])
        assert result["aliased"] == ["chat -> phi3:mini"]
        assert result["progress"]["model"] == "codellama:34b"

    @pytest.mark.parametrize(
        ("lines", "may"),
        [
            pytest.param([MANIFEST_LINE], False, id="before the first byte"),
            pytest.param([pulling(0), pulling(GIGA, 19 * GIGA)], True, id="in the middle of a big layer"),
            pytest.param([pulling(0), pulling(1.99 * GIGA)], False, id="shortly before the layer's end"),
            pytest.param(
                [pulling(0), pulling(1.9 * GIGA), pulling(0, 9 * GIGA, "sha256:22")],
                False,
                id="behind a layer that arrived in this pull and is not verified yet",
            ),
            pytest.param(
                [pulling(2 * GIGA), pulling(0, 9 * GIGA, "sha256:22"), pulling(GIGA, 9 * GIGA, "sha256:22")],
                True,
                id="behind a layer that was there before",
            ),
            pytest.param([pulling(0), {"status": "verifying sha256 digest"}], False, id="while it verifies"),
        ],
    )
    def test_a_pull_is_cut_only_where_no_layer_escapes_verification(
        self, lines: list[Line], may: bool
    ) -> None:
        seconds = iter(range(0, 1000, 20))
        pull = ollama_model.Pull(clock=lambda: next(seconds))
        for line in lines:
            pull.read(line)
        assert pull.may_be_cut() is may


class TestOneAtATime:
    """Calls with the same `progress_file`."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "run" / "models.json"

    @pytest.fixture
    def turn_of_another(self, file: Path) -> Iterator[Any]:
        turn = ollama_model.Turn(str(file))
        assert turn.take(None)
        yield turn
        turn.give_back()

    def test_what_was_done_in_the_background_is_reported_once(
        self, ollama: FakeOllama, run: Any, file: Path
    ) -> None:
        alias = {"chat": "phi3:mini"}
        run(["phi3:mini"], aliases=alias, progress_file=str(file), background=True)
        reports = [run(["phi3:mini"], aliases=alias, progress_file=str(file)) for _ in range(2)]
        assert [one["pulled"] for one in reports] == [["phi3:mini"], []]
        assert [one["aliased"] for one in reports] == [["chat -> phi3:mini"], []]
        assert [one["changed"] for one in reports] == [True, False]
        assert len(ollama.asked("/api/pull")) == 1

    def test_what_was_done_a_day_ago_is_no_news(self, run: Any, file: Path) -> None:
        run(["phi3:mini"], progress_file=str(file), background=True)
        os.utime(file, times=(time.time() - 100_000,) * 2)
        assert not run(["phi3:mini"], progress_file=str(file))["changed"]

    def test_a_model_that_was_refreshed_in_the_background_is_not_asked_for_again(
        self, ollama: FakeOllama, run: Any, file: Path
    ) -> None:
        models = [{"name": "phi3:mini", "state": "latest"}]
        ollama.models = {"phi3:mini": "old"}
        run(models, progress_file=str(file), background=True)
        assert run(models, progress_file=str(file))["checked"] == ["phi3:mini"]
        assert len(ollama.asked("/api/pull")) == 1

    def test_a_call_that_finds_another_at_work_watches_it(
        self, ollama: FakeOllama, run: Any, file: Path, turn_of_another: Any
    ) -> None:
        progress = {"model": "gpt-oss", "origin": "", "completed": 1, "total": 9, "rate": 2.5}
        done = {key: ["llama3.2"] if key == "pulled" else [] for key in ollama_model.LISTS}
        turn_of_another.tell(progress, done)
        result = run(["llama3.2", "gpt-oss"], progress_file=str(file), slice_s=0.1)
        assert (result["finished"], result["changed"]) == (False, False)
        assert result["progress"] == progress
        assert result["pulled"] == ["llama3.2"]
        assert not ollama.asked("/api/pull")

    @pytest.mark.usefixtures("turn_of_another")
    def test_one_that_has_not_said_anything_yet_can_be_watched_as_well(self, run: Any, file: Path) -> None:
        progress = run(["phi3:mini"], progress_file=str(file), slice_s=0.1)["progress"]
        assert (progress["completed"], progress["total"]) == (0, 0)

    def test_when_the_other_ends_what_it_left_is_done_at_once(
        self, ollama: FakeOllama, run: Any, file: Path, turn_of_another: Any
    ) -> None:
        def end() -> None:
            ollama.models["llama3.2:latest"] = MANIFEST_DIGEST
            turn_of_another.tell(None, {**{key: [] for key in ollama_model.LISTS}, "pulled": ["llama3.2"]})
            turn_of_another.give_back()

        threading.Timer(0.2, end).start()
        result = run(["llama3.2", "phi3:mini"], progress_file=str(file), slice_s=30)
        assert result["finished"]
        assert result["pulled"] == ["llama3.2", "phi3:mini"]
        assert [body["model"] for body in ollama.asked("/api/pull")] == ["phi3:mini"]

    def test_whoever_pulls_tells_how_far_it_is(self, ollama: FakeOllama, run: Any, file: Path) -> None:
        ollama.scripts = [[pulling(step * 1e7, 19 * GIGA) for step in range(300)]]
        told: list[Any] = []
        watcher = threading.Timer(0.8, lambda: told.append(json.loads(file.read_text())["progress"]))
        watcher.start()
        run(["codellama:34b"], progress_file=str(file), slice_s=1.5)
        watcher.join()
        assert told[0]["model"] == "codellama:34b"
        assert told[0]["total"] == 19 * GIGA and told[0]["completed"] >= 0

    @pytest.mark.usefixtures("turn_of_another")
    def test_check_mode_waits_for_nobody(self, run: Any, file: Path) -> None:
        assert run(["phi3:mini"], progress_file=str(file), check=True)["pulled"] == ["phi3:mini"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"models": ["llama3.2", "llama3.2:latest"]}, "'llama3.2:latest': listed twice", id="twice"
        ),
        pytest.param({"models": ["bad name"]}, "'bad name': not a model name", id="a bad name"),
        pytest.param(
            {"models": ["chat"], "aliases": {"chat": "chat"}},
            "is also listed as a model",
            id="alias is a model",
        ),
        pytest.param({"aliases": {"chat": "chat:latest"}}, "points to itself", id="alias of itself"),
        pytest.param(
            {"aliases": {"chat": ""}}, "both sides must be model names", id="alias of an empty name"
        ),
        pytest.param(
            {"models": [{"name": "phi3", "state": "absent"}], "aliases": {"chat": "phi3"}},
            "the model is listed as absent",
            id="alias of a removed model",
        ),
        pytest.param({"attempts": 0}, "attempts 0: must be 1 or more", id="no attempts"),
        pytest.param(
            {"url": "192.168.1.154:11434"}, "must look like http://", id="an address without scheme"
        ),
    ],
)
def test_contradictions_are_refused(
    ollama: FakeOllama, run: Any, arguments: dict[str, Any], message: str
) -> None:
    result = run(**arguments)
    assert result["failed"] and message in result["msg"]
    assert not ollama.requests


def test_all_contradictions_are_told_at_once(run: Any) -> None:
    message = run(["bad name", "phi3", "phi3"], attempts=0)["msg"]
    assert message.count(";") >= 2

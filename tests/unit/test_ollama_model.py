"""The module `ollama_model` against a server that speaks the pull protocol, with every way it breaks."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from by_path import import_file
from listening import Listening

ollama_model = import_file("library/ollama_model.py", "ollama_model_by_path")

GIGA, MEGA = 10**9, 10**6
# What a pull may do besides sending lines: say nothing, or its last line, until the client has had enough.
SILENCE, REPEAT = "silence", "repeat"


def pulling(completed: float, total: float = 2 * GIGA, layer: str = "6e") -> dict[str, Any]:
    sha = "sha256:" + layer * 32
    return {"status": f"pulling {sha[7:19]}", "digest": sha, "total": int(total), "completed": int(completed)}


MANIFEST = {"status": "pulling manifest"}
VERIFYING, SUCCESS = {"status": "verifying sha256 digest"}, {"status": "success"}
WHOLE = [MANIFEST, pulling(0), pulling(GIGA), pulling(2 * GIGA), VERIFYING, SUCCESS]
NO_SPACE = [pulling(GIGA), {"error": "write /root/.ollama: no space left on device"}]


class FakeOllama:
    """A server whose pulls follow scripts: a list of steps, or (status, text), per attempt; then `WHOLE`."""

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.scripts: list[Any] = []
        # What it offers as a mirror: repository:tag.
        self.offers: set[str] = set()
        self.requests: list[tuple[str, str, Any]] = []
        self.hung_up = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: Any) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def do_GET(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
                outer.requests.append((self.command, self.path, body))
                name = ollama_model.normalise(body.get("model", body.get("source", "x")))
                if self.command == "HEAD":
                    repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
                    self.answer(200 if f"{repository}:{tag}" in outer.offers else 404, b"")
                elif self.path == "/api/tags":
                    listed = [{"name": name, "digest": digest} for name, digest in outer.models.items()]
                    self.answer(200, {"models": listed})
                elif self.path == "/api/delete":
                    self.answer(200 if outer.models.pop(name, None) else 404, {"error": "not found"})
                elif self.path == "/api/copy":
                    outer.models[ollama_model.normalise(body["destination"])] = outer.models[name]
                    self.answer(200, b"")
                else:
                    self.pull(name, outer.scripts.pop(0) if outer.scripts else WHOLE)

            def pull(self, name: str, script: Any) -> None:
                if isinstance(script, tuple):
                    return self.answer(script[0], {"error": script[1]})
                self.answer(200, b"")
                try:
                    for index, step in enumerate(script):
                        while step == SILENCE and self.connection.recv(1):
                            pass
                        while step == REPEAT:
                            self.say(script[index - 1])
                        if step == SUCCESS:
                            outer.models[name] = f"digest of {name.rsplit('/', 1)[-1]}"
                        self.say(step)
                except OSError:
                    outer.hung_up.set()
                return None

            def say(self, line: Any) -> None:
                self.wfile.write(json.dumps(line).encode() + b"\n")

        for method in ("HEAD", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.do_GET)
        self.server = Listening(Handler)
        self.url = self.server.url
        self.mirror = f"127.0.0.1:{self.server.server_port}"

    @property
    def pulls(self) -> list[str]:
        return [body["model"] for _, path, body in self.requests if path == "/api/pull"]


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    fake = FakeOllama()
    monkeypatch.setattr(ollama_model, "ATTEMPTS", 3)
    monkeypatch.setattr(ollama_model, "BACKOFF_S", 0)
    monkeypatch.setattr(ollama_model, "LOOK_S", 0.01)
    # The background process is this one, and has ended when the module returns.
    monkeypatch.setattr(ollama_model, "detach", lambda task: task())
    with fake.server:
        yield fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "models.json"


@pytest.fixture
def call(ollama: FakeOllama, file: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run the module's real entry point once; models may be given as plain names."""

    def once(models: list[Any] | None = None, *, check: bool = False, **more: Any) -> dict[str, Any]:
        listed = [{"name": m} if isinstance(m, str) else m for m in models or []]
        arguments = {"url": ollama.url, "models": listed, "progress_file": str(file), **more}
        capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            ollama_model.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return once


@pytest.fixture
def run(call: Any) -> Callable[..., dict[str, Any]]:
    """Run the module as the action plugin does: once more to hear what the background process did."""

    def whole(*models: Any, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = call(*models, **more)
        return result if result.get("finished", True) else dict(call(*models, **more, watch_s=5))

    return whole


# --- present, absent, aliases ---

MODEL, PHI_ABSENT = "llama3.2:1b-q4_K_M", {"name": "phi3:mini", "state": "absent"}


RUNS: dict[str, tuple[Any, ...]] = {
    "a missing model is pulled and what nobody lists stays": (
        *({"mine:latest": "d"}, {"models": ["phi3:mini"]}),
        *({"pulled": ["phi3:mini"]}, {"mine:latest", "phi3:mini"})),
    "the model behind an alias comes first": (
        *({}, {"models": ["codellama:34b", "gpt-oss"], "aliases": {"chat": "gpt-oss"}}),
        {"pulled": ["gpt-oss", "codellama:34b"], "aliased": ["chat -> gpt-oss"]},
        {"gpt-oss:latest", "codellama:34b", "chat:latest"}),
    "a model is deleted and its alias stays": (
        *({"phi3:mini": "d", "chat:latest": "d"}, {"models": [PHI_ABSENT]}),
        *({"removed": ["phi3:mini"]}, {"chat:latest"})),
    "an alias with another digest is made again": (
        *({"phi3:mini": "new", "chat:latest": "old"}, {"aliases": {"chat": "phi3:mini"}}),
        *({"aliased": ["chat -> phi3:mini"]}, {"phi3:mini", "chat:latest"})),
}  # fmt: skip


@pytest.mark.parametrize(("there", "wanted", "done", "left"), RUNS.values(), ids=RUNS)
def test_a_run_does_what_check_mode_predicts_and_a_second_one_nothing(ollama, run, there, wanted, done, left):
    ollama.models = dict(there)
    predicted = run(check=True, **wanted)
    assert {method for method, *_ in ollama.requests} == {"GET"}, "check mode touches nothing"
    real = run(**wanted)
    for result in (predicted, real):
        assert result["changed"] and result["finished"]
        assert {key: result[key] for key in ollama_model.REPORTED if result[key]} == done
        assert result["diff"]["before"] != result["diff"]["after"]
    assert predicted["diff"]["before"] == real["diff"]["before"]
    assert set(ollama.models) == left
    ollama.requests.clear()
    again = run(**wanted)
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]
    assert [(method, path) for method, path, _ in ollama.requests] == [("GET", "/api/tags")]


def test_a_removed_model_makes_room_before_anything_is_pulled(ollama, run):
    ollama.models = {"phi3:mini": "d"}
    run(["llama3.2", PHI_ABSENT])
    paths = [path for _, path, _ in ollama.requests]
    assert paths.index("/api/delete") < paths.index("/api/pull")


# --- streams that break ---


@pytest.mark.parametrize("first_attempt", [
    pytest.param([MANIFEST, pulling(0), pulling(GIGA)], id="the stream ends without success"),
    pytest.param([MANIFEST, pulling(GIGA), SILENCE], id="nothing comes any more"),
    pytest.param([pulling(0), pulling(GIGA), REPEAT], id="lines come and no bytes with them"),
    pytest.param((500, "pull model manifest: i/o timeout"), id="the server cannot reach its registry"),
])  # fmt: skip
def test_a_pull_is_resumed_when(ollama, run, first_attempt, monkeypatch):
    monkeypatch.setattr(ollama_model, "STALL_S", 0.5)
    ollama.scripts = [first_attempt]
    assert run(["phi3:mini"])["pulled"] == ["phi3:mini"]
    assert len(ollama.pulls) > 1


def test_attempts_count_only_while_no_byte_arrives(ollama, run):
    ollama.scripts = [[pulling(step * 1e8), pulling((step + 1) * 1e8)] for step in range(6)]
    assert run(["phi3:mini"])["changed"]
    assert len(ollama.pulls) == 7


def test_a_long_verification_is_not_a_stall(ollama, run, monkeypatch):
    monkeypatch.setattr(ollama_model, "STALL_S", 60)
    monkeypatch.setattr(ollama_model, "VERIFY_S", 0.2)
    ollama.scripts = [[pulling(GIGA), VERIFYING, SILENCE]]
    run(["phi3:mini"])
    assert ollama.pulls == ["phi3:mini"] * 2, "it has a limit of its own"


@pytest.mark.parametrize(("script", "cure"), [
    pytest.param(NO_SPACE, "take models off ollama_models", id="a full disk"),
    pytest.param([{"error": "digest mismatch"}], "look at proxies between", id="damaged bytes"),
    pytest.param((404, "page not found"), "is this an Ollama server?", id="a server of another kind"),
])  # fmt: skip
def test_what_trying_again_cannot_cure_fails_at_once(ollama, run, script, cure):
    ollama.scripts = [script]
    result = run(["phi3:mini"])
    assert result["failed"]
    assert "model phi3:mini: " in result["msg"] and ollama.url in result["msg"] and cure in result["msg"]
    assert len(ollama.pulls) == 1


# --- mirrors ---


@pytest.fixture
def there(ollama: FakeOllama) -> str:
    """The name of the model that the server offers as a mirror."""
    ollama.offers = {"library/llama3.2:1b-q4_K_M"}
    return f"{ollama.mirror}/library/llama3.2:1b-q4_K_M"


def test_a_model_is_copied_from_the_first_mirror_that_has_it(ollama, run, there):
    result = run([MODEL], mirrors=["127.0.0.1:9", ollama.mirror])
    assert ollama.pulls == [there], "with its capitals: a registry knows no others"
    assert [body["insecure"] for _, path, body in ollama.requests if path == "/api/pull"] == [True]
    assert (result["pulled"], result["copied"]) == ([MODEL], [f"{MODEL} from {ollama.mirror}"])
    assert list(ollama.models) == [MODEL.lower()], "its name on the mirror is gone"


def test_a_model_that_names_its_registry_comes_from_there(ollama, run):
    assert run(["hf.co/me/phi3:mini"], mirrors=[ollama.mirror])["copied"] == []
    assert ollama.pulls == ["hf.co/me/phi3:mini"]
    assert "HEAD" not in [method for method, *_ in ollama.requests]


@pytest.mark.parametrize(("scripts", "why"), [
    pytest.param([[{"error": "digest mismatch: want a"}]], "digest mismatch", id="damaged bytes"),
    pytest.param([[pulling(GIGA)]] * 3, "gave up after 3 attempts",
        id="a stream that breaks off again and again"),
])  # fmt: skip
def test_a_mirror_is_passed_over_and_named_for(ollama, run, there, scripts, why):
    ollama.scripts = list(scripts)
    result = run([MODEL], mirrors=[ollama.mirror])
    assert ollama.pulls == [there] * len(scripts) + [MODEL]
    assert (result["pulled"], result["copied"]) == ([MODEL], [])
    assert why in result["given_up"][0] and there in result["given_up"][0]


def test_a_name_below_a_mirror_that_a_killed_process_left_is_removed(ollama, run):
    there = f"{ollama.mirror}/library/phi3:mini"
    ollama.models = {"phi3:mini": "d", there: "d"}
    assert run(["phi3:mini"], mirrors=[ollama.mirror])["removed"] == [there]
    assert ollama.models == {"phi3:mini": "d"}


# --- the disk ---


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A volume with 10 GB free, of which 2 are reserved."""
    free = SimpleNamespace(f_bavail=10 * MEGA, f_frsize=1000)
    monkeypatch.setattr(ollama_model.os, "statvfs", lambda _: free)
    monkeypatch.setattr(ollama_model.AnsibleModule, "run_command", lambda *_: (0, f"{tmp_path}\n", ""))
    return tmp_path


@pytest.mark.parametrize("check", [True, False], ids=["in check mode", "in a run"])
def test_models_that_do_not_fit_are_refused_before_the_first_byte(ollama, run, volume, check):
    result = run([{"name": "a", "size_gb": 4}, {"name": "b", "size_gb": 4.5}], volume="v", check=check)
    assert result["failed"] and not ollama.pulls
    assert result["msg"].startswith(
        "pull refused before the first byte (a 4.0 + b 4.5 GB, 0.0 of it there in part), 8.5 GB to come: "
        f"must fit into the 8.0 GB that the disk of {volume} has left beside a reserve of 2.0 GB; free some"
    )


@pytest.mark.parametrize(("model", "script"), [
    pytest.param({"size_gb": 8.002}, WHOLE, id="a part of it is there already"),
    pytest.param({"size_gb": 90, "state": "absent"}, WHOLE, id="it is to go"),
])  # fmt: skip
def test_a_model_is_not_refused_if(ollama, run, volume, model, script):
    blobs = volume / "models" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / ("sha256-" + "6e" * 32 + "-partial")).open("wb") as part:
        part.write(b"x" * 3_000_000)
        part.truncate(9 * GIGA)  # sparse, as Ollama's are
    ollama.models, ollama.scripts = ({"a:latest": "d"} if "state" in model else {}), [script]
    assert run([{"name": "a", **model}], volume="v")["changed"]


@pytest.mark.usefixtures("volume")
def test_a_model_bigger_than_declared_is_stopped_at_its_layer(ollama, run):
    ollama.scripts = [[pulling(0, MEGA, "22"), pulling(0, 9 * GIGA), REPEAT]]
    message = run([{"name": "a", "size_gb": 1}], volume="v")["msg"]
    assert message.startswith("model a stopped before its layer 6e6e6e6e6e6e, 9.0 GB to come: must fit")
    assert ollama.hung_up.wait(10), "hanging up is what stops the server's download"


# --- the background process ---


@pytest.fixture
def another(file: Path) -> Any:
    """A background process that an earlier task has begun."""
    progress = ollama_model.Progress(str(file))
    assert progress.lock()
    progress.read()
    progress.write(before={}, progress={"model": "gpt-oss", "completed": 1, "total": 9})
    return progress


def test_what_was_done_in_the_background_is_reported_once(ollama, call, run):
    begun = call(["phi3:mini"], wait=False)
    assert not begun["finished"] and not begun.get("changed")
    reports = [run(["phi3:mini"]) for _ in range(2)]
    assert [(one["pulled"], one["changed"]) for one in reports] == [(["phi3:mini"], True), ([], False)]
    assert len(ollama.pulls) == 1


def test_a_process_at_work_is_watched_and_another_begins_when_it_has_ended(ollama, call, another):
    models = ["llama3.2", "gpt-oss"]
    for seconds in (0, 0.1):
        result = call(models, watch_s=seconds)
        assert not result["finished"] and result["progress"]["model"] == "gpt-oss"
    assert call(models, check=True)["finished"], "check mode waits for nobody"
    another.told["done"]["pulled"].append("llama3.2")
    another.write(ended=True)
    ollama.models["llama3.2:latest"] = "d"
    threading.Timer(0.1, another.close).start()
    assert not call(models, watch_s=30)["finished"]
    assert call(models, watch_s=30)["pulled"] == models
    assert ollama.pulls == ["gpt-oss"]


def test_who_watches_a_process_is_told_when_it_is_killed(call, another):
    another.close()
    assert "was killed; run the playbook again" in call(["phi3:mini"], watch_s=1)["msg"]


# --- what is refused ---


CONTRADICTIONS: dict[str, tuple[Any, ...]] = {
    "a model twice": (["phi3", "phi3:latest"], {}, "model 'phi3:latest': listed twice"),
    "an alias of a model nobody has": ([], {"chat": "phi3"}, "alias chat -> phi3: "),
    "an alias of a removed model": ([PHI_ABSENT], {"chat": "phi3:mini"}, "choose one of: none"),
}


@pytest.mark.parametrize(("models", "aliases", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_are_refused(ollama, run, models, aliases, message):
    result = run(models, aliases=aliases)
    assert result["failed"] and message in result["msg"]
    assert {method for method, *_ in ollama.requests} <= {"GET"}

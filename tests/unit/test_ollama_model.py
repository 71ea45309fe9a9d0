"""The module `ollama_model` against a server that speaks the pull protocol, with every way it breaks."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.aicluster_models import disk, pull, server
from ansible.module_utils.testing import patch_module_args
from by_path import import_file
from fake_ollama import GIGA, MANIFEST, REPEAT, SILENCE, VERIFYING, FakeOllama, pulling
from tables import cases

from aicluster.models import ollama_differences

ollama_model = import_file("library/ollama_model.py", "ollama_model_by_path")

MODEL = "llama3.2:1b-q4_K_M"


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    fake = FakeOllama()
    monkeypatch.setattr(server, "BACKOFF_S", 0)
    monkeypatch.setattr(ollama_model, "LOOK_S", 0.01)
    # The background process is this one, and has ended when the module returns.
    monkeypatch.setattr(ollama_model, "detach", lambda task: task())
    with fake.server:
        yield fake


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A volume with 10 GB free, of which 2 are reserved."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * GIGA))
    monkeypatch.setattr(ollama_model.AnsibleModule, "run_command", lambda *_: (0, f"{tmp_path}\n", ""))
    return tmp_path


def listed(models: Any) -> list[dict[str, Any]]:
    return [{"name": model} if isinstance(model, str) else model for model in models]


@pytest.fixture
def call(ollama: FakeOllama, volume: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def once(models: Any, aliases: Any = None, *, check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {
            "url": ollama.url,
            **{"models": listed(models), "aliases": aliases or {}, "mirrors": []},
            **{"volume": "v", "progress_file": f"{volume}/run/models.json", "wait": True},
            **{"_ansible_check_mode": check, **more},
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ollama_model.main()
        return dict(json.loads(capsys.readouterr().out))

    return once


@pytest.fixture
def run(call: Any) -> Callable[..., dict[str, Any]]:
    """Run the module as the action plugin does: once more to hear what the background process did."""

    def whole(*wanted: Any, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = call(*wanted, **more)
        return result if result.get("finished", True) else dict(call(*wanted, **more, watch_s=5))

    return whole


PHI_ABSENT = {"name": "phi3:mini", "state": "absent"}


@cases(("there", "wanted", "done", "left"), {
    "a missing model is pulled and what nobody lists stays": (
        {"mine:latest": "d"}, (["phi3:mini"], {}), {"pulled": ["phi3:mini"]}, {"mine:latest", "phi3:mini"}),
    "the model behind an alias comes first": ({}, (["codellama:34b", "gpt-oss"], {"chat": "gpt-oss"}),
        {"pulled": ["gpt-oss", "codellama:34b"], "aliased": ["chat -> gpt-oss"]},
        {"gpt-oss:latest", "codellama:34b", "chat:latest"}),
    "a model is deleted and its alias stays": ({"phi3:mini": "d", "chat:latest": "d"}, ([PHI_ABSENT], {}),
        {"removed": ["phi3:mini"]}, {"chat:latest"}),
    "an alias with another digest is made again": (
        {"phi3:mini": "new", "chat:latest": "old"}, (["phi3:mini"], {"chat": "phi3:mini"}),
        {"aliased": ["chat -> phi3:mini"]}, {"phi3:mini", "chat:latest"}),
})  # fmt: skip
def test_a_run_does_what_check_mode_predicts_and_a_second_one_nothing(ollama, run, there, wanted, done, left):
    def seen() -> list[str]:
        answer = {"models": [{"name": name, "digest": digest} for name, digest in ollama.models.items()]}
        return ollama_differences(answer, listed(wanted[0]), wanted[1])

    ollama.models = dict(there)
    assert len(seen()) == sum(map(len, done.values()))
    predicted = run(*wanted, check=True)
    assert {method for method, *_ in ollama.requests} == {"GET"}, "check mode touches nothing"
    real = run(*wanted)
    for result in (predicted, real):
        assert result["changed"] and result["finished"]
        assert {key: result[key] for key in ("pulled", "removed", "aliased") if result[key]} == done
        assert result["diff"]["before"] != result["diff"]["after"]
    assert predicted["diff"] == real["diff"]
    assert set(ollama.models) == left
    assert seen() == []
    ollama.requests.clear()
    again = run(*wanted)
    assert not again["changed"] and again["diff"] == {"before": "", "after": ""}
    assert [(method, path) for method, path, _ in ollama.requests] == [("GET", "/api/tags")]


def test_a_removed_model_makes_room_before_anything_is_pulled(ollama, run):
    ollama.models = {"phi3:mini": "d"}
    assert run([{"name": "llama3.2", "size_gb": 9}, {**PHI_ABSENT, "size_gb": 2}], check=True)["pulled"]
    run(["llama3.2", PHI_ABSENT])
    paths = [path for _, path, _ in ollama.requests]
    assert paths.index("/api/delete") < paths.index("/api/pull")


@cases(("limits", "first_attempt"), {
    "the stream ends without success": ({}, [MANIFEST, pulling(0), pulling(GIGA)]),
    "nothing comes any more": ({"STALL_S": 0.5}, [MANIFEST, pulling(GIGA), SILENCE]),
    "lines come and no bytes with them": ({"STALL_S": 0.5}, [pulling(GIGA), REPEAT]),
    "the checksums exceed their own limit": ({"VERIFY_S": 0.2}, [VERIFYING, SILENCE]),
    "the server cannot reach its registry": ({}, [{"error": "i/o timeout"}]),
})  # fmt: skip
def test_a_pull_is_resumed_when(ollama, run, monkeypatch, limits, first_attempt):
    for name, seconds in limits.items():
        monkeypatch.setattr(pull, name, seconds)
    ollama.scripts = [first_attempt]
    assert run(["phi3:mini"])["pulled"] == ["phi3:mini"]
    assert ollama.pulls == ["phi3:mini"] * 2


@cases(("note", "left"), {
    "an empty note of its progress begins anew": ("", 0),
    "whole notes goes on": ('{"N":0,"Offset":0,"Size":1,"Completed":1}', 3),
})  # fmt: skip
def test_a_layer_with(ollama, run, volume, note, left):
    """A server that was stopped at the wrong moment left the note, and says EOF without naming the layer."""
    blobs = volume / "models" / "blobs"
    blobs.mkdir(parents=True)
    for part, content in (("", "x"), ("-0", '{"N":0}'), ("-1", note)):
        (blobs / f"sha256-{'6e' * 32}-partial{part}").write_text(content)
    ollama.scripts = [[MANIFEST, {"error": "EOF"}]]
    result = run(["phi3:mini"])
    assert len(list(blobs.iterdir())) == left
    anew = "phi3:mini: layer 6e6e6e6e6e6e begins anew, its parts were damaged"
    assert result["messages"] == [*([] if left else [anew]), "phi3:mini is there"]


@cases(("script", "says", "attempts"), {
    "a full disk": ([pulling(GIGA), {"error": "write blob: no space left on device"}],
        "take models off ollama_models", 1),
    "damaged bytes": ([{"error": "digest mismatch"}], "look at proxies between", 1),
    "no new byte again and again": ([pulling(GIGA)],
        "gave up after 5 attempts without a new byte, at 1.0 of", 5),
})  # fmt: skip
def test_a_mirror_is_passed_over_for(ollama, run, there, script, says, attempts):
    ollama.scripts = [script] * attempts
    result = run([MODEL], mirrors=[ollama.mirror])
    assert ollama.pulls == [there] * attempts + [MODEL]
    given_up, pulled = result["messages"]
    assert re.match(f"not from a mirror: model {re.escape(there)}: .*{says}", given_up)
    assert (pulled, result["pulled"]) == (f"{MODEL} is there", [MODEL])


@pytest.fixture
def there(ollama: FakeOllama) -> str:
    ollama.offers = {f"library/{MODEL.replace(':', '/manifests/')}"}
    return f"{ollama.mirror}/library/{MODEL}"


def test_a_model_is_copied_from_the_first_mirror_that_has_it(ollama, run, there):
    result = run([MODEL], mirrors=["127.0.0.1:9", ollama.mirror])
    refused = result["messages"].pop(0)
    assert re.match(r"not from a mirror: HEAD http://127\.0\.0\.1:9/v2/\S+: ConnectionRefused", refused)
    # With its capitals: a registry knows no others.
    assert ollama.asked("/api/pull") == [{"model": there, "insecure": True}]
    assert result["pulled"] == [MODEL]
    assert result["messages"] == [f"{MODEL} is there, copied from {ollama.mirror}"]
    assert list(ollama.models) == [MODEL.lower()], "its name on the mirror is gone"


def test_a_name_below_a_mirror_that_a_killed_process_left_is_removed(ollama, run, there):
    ollama.models = {MODEL.lower(): "d", there.lower(): "d"}
    assert run([MODEL], mirrors=[ollama.mirror])["removed"] == [there]
    assert list(ollama.models) == [MODEL.lower()]


@pytest.mark.parametrize("check", [True, False], ids=["in check mode", "in a run"])
def test_models_that_do_not_fit_are_refused_before_the_first_byte(ollama, run, volume, check):
    result = run([{"name": "a", "size_gb": 4}, {"name": "b", "size_gb": 4.5}], check=check)
    assert result["failed"] and not ollama.pulls
    assert result["msg"].startswith(
        "pull refused before the first byte (a 4.0 + b 4.5 GB, 0.0 of it there in part), 8.5 GB to come: "
        f"must fit into the 8.0 GB that the disk of {volume} has left beside a reserve of 2.0 GB; free some"
    )


@cases("model", {
    "a part of it is there already": {"size_gb": 8.002},
    "it is to go": {"size_gb": 90, "state": "absent"},
})  # fmt: skip
def test_a_model_is_not_refused_if(ollama, run, volume, model):
    blobs = volume / "models" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / ("sha256-" + "6e" * 32 + "-partial")).open("wb") as part:
        part.write(b"x" * 3_000_000)
        part.truncate(9 * GIGA)  # sparse, as Ollama's are
    ollama.models = {"a:latest": "d"} if "state" in model else {}
    assert run([{"name": "a", **model}])["changed"]


def test_a_model_bigger_than_declared_is_stopped_at_its_layer(ollama, run):
    ollama.scripts = [[pulling(0, 1e6, "22"), pulling(0, 9 * GIGA), REPEAT]]
    message = run([{"name": "a", "size_gb": 1}])["msg"]
    assert message.startswith("model a stopped before its layer 6e6e6e6e6e6e, 9.0 GB to come: must fit")
    assert ollama.hung_up.wait(10), "hanging up is what stops the server's download"


def test_who_watches_a_process_is_told_when_it_is_killed(call, volume):
    (volume / "run").mkdir()
    (volume / "run/models.json").write_text('{"progress": "gpt-oss: 11 % of 9.0 GB"}')
    assert "was killed; run the playbook again" in call(["phi3:mini"], watch_s=1)["msg"]

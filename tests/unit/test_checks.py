"""The check of each service passes where it works, and names what does not, with evidence and causes."""

import json
import time
from typing import Any

import aicluster_verify
import healthy as node
import pytest
import render
from a_kit import SLOW, ScriptedKit, check_of, failure_of, in_turn, site
from by_path import import_file

CHAT, CODE = "POST /api/v1/chat", "POST /api/v1/code"
OF_THE_EDGE = "POST http://10.0.0.6:8080/api/chat"
QUEUE, QUALITY = "GET /api/v1/image/queue", "GET /api/v1/code/quality/api/system/status"
AWAY = node.upstream(("10.0.0.1", 4, "HEALTHY"), ("10.0.0.2", 1, "UNHEALTHY"))
STATE = 'aicluster_service_state{name="%s",state="inactive"} 1\n'
INACTIVE = (200, "".join(STATE % name for name in ("ollama", "comfyui", "sonarqube")))
ORIN0 = "GET http://10.0.0.2:9100/metrics"
GENERATE = "POST /api/generate"
AGAIN = "sudo systemctl start aicluster-backup"


@pytest.fixture(autouse=True)
def files_of_the_node(tmp_path, monkeypatch):
    files: dict[str, Any] = {
        "control_node.json": [
            {"name": "AGX0", "address": "agx0", "port": 22, "login": "ansible"},
            {"name": "NANO", "address": "10.0.0.2", "port": 22, "login": "ansible"},
        ],
        "comfyui.json": {"gpu": True, "checkpoints": ["sd.safetensors"]},
        "ollama.json": {"models": ["library/Llama3.2"], "aliases": ["chat", "code", "embed"], "gpu": True},
        "kong.json": {
            "nodes": [{"node": "AGX0", "url": node.TAGS, "models": {"phi4:latest": ["tools"]}}],
            "stored": True,
            "drained": [],
            "upstreams": {},
            "looks": 0,
        },
        "jupyterhub/conf/settings.json": {"base_url": "/jupyter/"},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    monkeypatch.setattr(time, "time", lambda: node.NOW)
    (tmp_path / "nv_tegra_release").touch()
    monkeypatch.setattr(check_of("jetson_metrics"), "RELEASE", f"{tmp_path}/nv_tegra_release")
    monkeypatch.setattr(aicluster_verify, "ROOT", str(tmp_path))
    monkeypatch.setattr(check_of("kong"), "PROBED_WITHIN_S", -1)
    for service in ("comfyui", "control_node", "kong", "ollama"):
        monkeypatch.setattr(check_of(service), "WANTED", f"{tmp_path}/{service}.json")


def check_and_kit(case: str, changed: dict[str, Any]) -> tuple[Any, Any]:
    """Of a case `node: what is so`; the node's first word is its service."""
    name = case.partition(":")[0]
    return check_of(name.split()[0]).check, node.kit_of(name, changed)


# What is changed about a node that works, and what its check says all the same.
WORKS: dict[str, tuple[dict[str, Any], str]] = {
    "backup: never backed up is a warning": (
        node.copies(node.copied(age_h=None)), f"to AGX0; restore a reinstalled node first, then `{AGAIN}`"),
    "comfyui: a picture is being made for a user": (
        {"GET /history/p1": (200, "{}"), "GET /queue": (200, {"queue_running": [[0, "theirs"], [1, "p1"]]})},
        "is busy for a user on cuda"),
    "jetson_metrics: a board has no power monitor": (
        node.board("gpu_load_ratio", "temperature_celsius"), "1 of temperature; none of clock, power"),
    "kong: a drained node may be away": (
        node.upstream(("10.0.0.1", 0, "UNHEALTHY"), ("10.0.0.2", 1, "HEALTHY")), "abababab, ORIN0 healthy"),
    "kong: a model is not where the gateway takes it to be": ({f"GET {node.TAGS}": (200, {"models": []})},
        "the gateway's table differs: AGX0 has no phi4:latest; correct kong_models"),
    "kong: a model can something else": ({f"GET {node.TAGS}": node.can("vision")},
        "the gateway's table differs: phi4:latest on AGX0 can vision; correct kong_models"),
    "kong without AI nodes: there is nothing to balance, and no way in": (
        {}, "abababab, there is no AI node"),
    "ollama: part of a model is on the GPU": (node.on_the_gpu(60), " s, 60 % on the GPU"),
    "postgres as a standby: it is being made": (
        {"postgres: *": node.prints('{"doing": "copies PI52: 40 %"}')}, "copies PI52: 40 %"),
    "postgres with a standby: the standby is away": (
        {"postgres: *": node.of_two()}, "its standby on PI52 does not receive what is written"),
    "prometheus: a target came back since the last look": (
        {"GET /api/v1/targets": in_turn(
            *[node.targets(node.target("kong", "down", "t1"))["GET /api/v1/targets"]] * 2,
            node.targets(node.target("kong", "up", "t2"))["GET /api/v1/targets"])},
        "1 targets of 1 jobs up"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "changed", "said"), [(case, *row) for case, row in WORKS.items()], ids=WORKS
)
def test_what_works_and_what_is_no_failure_is_told(case, changed, said):
    check, kit = check_and_kit(case, changed)
    seen = check(kit)
    assert seen and said in str(seen)


# What is changed, the evidence, and the possible causes.
FAILS: dict[str, tuple[Any, ...]] = {
    "minio: it is open to strangers": (
        {"GET /images/": (200, "<ListBucketResult/>")}, "answered 200 instead of 403"),
    "postgres: a row is lost": ({"postgres: *": node.prints("3\n")}, "wrote 'run-1 N' and read"),
    "postgres as a standby: it has no primary to copy": (
        {"postgres: *": node.prints('{"doing": "waits for the primary on PI52"}')}, "waits for the primary"),
    "postgres as a standby: it takes writes": (
        {"postgres: *": node.of_two(recovery=False)}, "takes writes, though the site names PI52"),
    "postgres as a standby: it is cut off": (
        {"postgres: *": node.of_two(streaming=0)}, "does not receive what is written", "postgres on PI52"),

    "ollama: an alias is missing": (node.tags(*node.MODELS[:3]), "no model named code:latest"),
    "ollama: a model without an alias is missing": (
        node.tags(*node.MODELS[1:]), "no model named llama3.2:latest"),
    "ollama: there is no token": (
        {"POST /api/generate": (200, {"done": True, "eval_count": 0})}, "code:latest generated no token"),
    "ollama: the GPU is silently not used": (
        node.on_the_gpu(0), "code:latest runs on the CPU although the container has the GPU"),
    "ollama: a model is still being loaded": (
        {GENERATE: SLOW, "GET /api/ps": (200, {"models": []})}, "s and is still being loaded"),
    "comfyui: the GPU is not used": (
        {"GET /system_stats": (200, {"devices": [{"type": "cpu"}]})}, "given a GPU but computes on cpu"),
    "comfyui: a declared checkpoint is missing": (
        {"GET /models/checkpoints": (200, ["more.ckpt"])}, "no checkpoint named sd.safetensors"),
    "comfyui: the job does not end": ({"GET /history/p1": (200, "{}")}, "did not end"),
    "sonarqube: provisioning did not happen": (
        {"GET /api/authentication/validate": (200, {"valid": True})}, "default password"),
    "jupyterhub: it lets in everybody": ({f"POST {node.HUB}/login": node.SESSION}, "accepts a wrong"),

    "profile_wake: it lets in everybody": ({"GET /": (200, {"profile": "llm"})}, "without its token"),
    "jetson_metrics: nothing is handed out": ({"GET /metrics": (200, "")}, "has no metrics of the board"),
    "jetson_metrics: nobody looks any more": (node.board("power_watts", age_s=500), "last read 500 s ago"),
    "jetson_metrics: nothing of a Jetson can be read": (node.board(), "a Jetson, and neither GPU nor"),
    "prometheus: a target is down": (
        node.targets(node.target("kong", "down", error="refused"), node.target("probe")),
        "1 of 2 targets down: kong of PI52: refused", "kong on PI52"),
    "prometheus: many probes through one dead exporter are one trouble": (
        node.targets(*(node.target("ping", "down", error="refused", instance=str(n)) for n in range(9))),
        "9 of 9 targets down: 9 probes through blackbox_exporter: refused", "blackbox_exporter on PI41"),
    "prometheus: a rule cannot be evaluated": (
        node.rules(node.RULE, {"name": "Bad", "health": "err", "lastError": "many-to-many"}),
        "rule Bad: many-to-many"),
    "prometheus: there is nobody to tell": ({"GET /api/v1/alertmanagers": node.api(activeAlertmanagers=[])},
        "does not know the Alertmanager on PI41 (10.0.0.4:9093)"),
    "prometheus: a page is without a metric": (
        {"GET /api/v1/query": node.api(result=[{"metric": {"job": "kong", "instance": "10.0.0.1:8100"}}])},
        "no metric from kong at 10.0.0.1:8100"),

    "nginx: Kong is not ready": ({"GET /healthz": (502, "")}, "/healthz: answered 502", "kong on N"),
    "nginx: an answer is of nobody": ({CHAT: (200, node.MESSAGE)}, "X-AI-Node is missing", "kong on N"),
    "nginx before an edge: the answer is slow": ({CHAT: SLOW}, "need longer", "ollama on NANO", "kong on N"),
    "nginx before an edge: the edge does not answer in time": (
        {OF_THE_EDGE: SLOW}, "NANO would not answer when no AI node does", "ollama on NANO", "nginx on NANO"),
    "nginx on the edge: it forgets": ({"POST /api/chat": (*node.OF_NANO, ("X-Cache-Status", "MISS"))},
        "not answered from the cache (MISS, then MISS)"),
    "nginx on the edge: it lets everything through": (
        {"GET /api/tags": (200, {})}, "/api/tags: answered 200 instead of 404"),
    "nginx with pages: anybody computes": (
        {"GET /comfyui/": (200, "")}, "/comfyui/: answered 200 without a key"),
    "nginx with pages: one is away": (
        {"GET /jupyter/": (503, "away")}, "/jupyter/: answered 503: away", "jupyterhub on N"),
    "kong: it has no configuration": (
        {"GET /status": (200, {"configuration_hash": "0" * 32})}, "without a configuration"),
    "kong: it cannot reach a node": (AWAY, "for Kong ORIN0 (10.0.0.2:11434) is UNHEALTHY", "ollama on ORIN0"),
    "kong: nobody is left, so it does not matter who is inactive": (
        node.upstream(("10.0.0.1", 4, "UNHEALTHY"), ("10.0.0.2", 1, "UNHEALTHY")) | {ORIN0: INACTIVE},
        "AGX0 (10.0.0.1:11434) is UNHEALTHY", "ollama on AGX0", "ollama on ORIN0"),
    "kong: it is open to everybody": ({CHAT: (200, {})}, "without a key is answered with 200"),
    "kong: a node cannot write code": (
        {CODE: (500, "cannot load", ("X-AI-Node", "AGX0"))}, "answered 500: cannot load", "ollama on AGX0"),
    "kong: an exchange is not stored": ({f"GET {node.CONVERSATION}": (404, {"error": "none"})},
        'waited 15 s): 404 {"error": "none"}', "postgrest on PI52"),
    "kong before one service each: ComfyUI is not reached": (
        {QUEUE: (503, {})}, "queue of images answers 503", "comfyui on ORIN0"),

    "backup: the last try failed, however young the copy": (
        node.copies(node.copied(), node.copied(2, exit_code=1, error="disk full")),
        "postgres to ORIN0: disk full", "backup_store on ORIN0"),
    "backup: the first try failed": (
        node.copies(node.copied(age_h=None, exit_code=12, error="wrong password")),
        "postgres to AGX0: wrong password", "backup_store on AGX0"),
    "backup: a copy is older than 26 hours": (
        node.copies(node.copied(age_h=27), node.copied(2)), "the last copy of postgres to AGX0 is 27 h old"),
    "backup: a copy is of the future": (
        node.copies(node.copied(age_h=-5)), "the last copy of postgres to AGX0 is of the future"),
    "control_node: its key is not locked": ({"*ssh-keygen*": "open\n"}, "has no passphrase, and is root"),
    "control_node: a node does not let it in": (
        {"*ssh -v*": lambda argv, _: "Server accepts key" if "agx0" in argv else "debug1: x\nTimed out.\n"},
        "cannot work on NANO (Timed out.)", "control_access on NANO"),
    "control_access: there is no line": ({"find /root /home *": ""}, "does not let PI31 (10.0.0.8) in"),
    "control_access: the control node had another address": (
        {"find /root /home *": node.BOTH_KEYS.replace("0.8", "0.7")}, "does not let PI31 (10.0.0.8) in"),
    "control_access: a line waits for its key": (
        {"find /root /home *": "# no key yet of aicluster-control-node\n"}, "PI31 had no key when"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "changed", "evidence", "causes"),
    [(case, changed, evidence, causes) for case, (changed, evidence, *causes) in FAILS.items()],
    ids=FAILS,
)
def test_what_does_not_work_is_named_with_evidence_and_causes(case, changed, evidence, causes):
    found = failure_of(*check_and_kit(case, changed))
    assert evidence in found.evidence
    assert found.caused_by == causes


@pytest.mark.parametrize(("case", "next_command"), [
    ("backup: a copy is of the future", f"timedatectl; {AGAIN}"),
    ("comfyui: a declared checkpoint is missing", "sudo docker compose --project-directory /opt/aicluster "
        "cp sd.safetensors comfyui:/opt/ComfyUI/models/checkpoints/sd.safetensors"),
    ("control_access: a line waits for its key", "ansible-playbook site.yml --limit pi31.example"),
])  # fmt: skip
def test_the_next_command_is_told(case, next_command):
    assert failure_of(*check_and_kit(case, FAILS[case][0])).next_command == next_command


def test_comfyui_forgets_the_job_of_its_check():
    check, kit = check_and_kit("comfyui", {})
    check(kit)
    assert kit.asked[-2:] == ["POST /queue", "POST /history"]


def test_a_node_of_which_no_model_is_wanted_is_asked_for_none(monkeypatch):
    monkeypatch.setattr(check_of("ollama"), "wanted", lambda: {"models": [], "aliases": []})
    check, kit = check_and_kit("ollama", {GENERATE: None})
    assert check(kit) == "Ollama 0.32.15; no models that write are declared here"


def test_the_models_that_are_wanted_are_those_of_the_inventory(monkeypatch):
    models = [{"name": "a"}, {"name": "b:1b", "state": "present"}, {"name": "c", "state": "absent"}]
    chosen = render.choose(monkeypatch, ollama_models=models, ollama_aliases={"chat": "a"})
    written = render.render_role("ollama", overrides=chosen)["/opt/aicluster/checks/ollama.json"]
    assert json.loads(written) == {"models": ["a", "b:1b"], "aliases": ["chat"], "gpu": True}


BUSY = {"queue_running": [[0, "p1"]], "queue_pending": [[1, "p2"], [2, "p3"]]}


@pytest.mark.parametrize(("changed", "said", "interrupted"), [
    pytest.param({}, "nothing ran, 0 waiting", False, id="nothing to wait for"),
    pytest.param({"GET /queue": (200, BUSY)}, "interrupted, 2 waiting", True,
        id="a picture that does not end is interrupted"),
])  # fmt: skip
def test_before_it_is_stopped_comfyui_ends_its_work_and_frees_its_memory(changed, said, interrupted):
    rest = import_file("roles/comfyui/templates/opt/aicluster/rest/comfyui.py", "rest_comfyui")
    kit = node.kit_of("comfyui", {"POST /interrupt": (200, ""), "POST /free": (200, ""), **changed})
    assert said in rest.rest(kit)
    assert ("POST /interrupt" in kit.asked) is interrupted
    assert kit.asked[-1] == "POST /free"


ACTIVITY = "GET /api/ce/activity_status"


@pytest.mark.parametrize(("service", "changed", "said"), [
    pytest.param("comfyui", {}, "", id="an empty queue"),
    pytest.param("comfyui", {"GET /queue": (200, BUSY)}, "1 pictures run, 2 wait", id="jobs"),
    pytest.param("sonarqube", {ACTIVITY: (200, {"pending": 0, "inProgress": 0})}, "", id="no analysis"),
    pytest.param("sonarqube", {ACTIVITY: (200, {"pending": 2, "inProgress": 1})},
        "1 reports are read, 2 wait", id="reports"),
])  # fmt: skip
def test_a_service_tells_the_work_that_no_connection_shows(service, changed, said):
    busy = import_file(f"roles/{service}/templates/opt/aicluster/busy/{service}.py", f"busy_{service}")
    assert busy.busy(node.kit_of(service, changed)) == said


SEEN = 'aicluster_service_state{name="ollama",state="%s"} %s'
# A look five seconds after this check began, and one before; the node's clock shows 1000 now.
LATER, EARLIER = (f"aicluster_containers_seen_timestamp_seconds {at}" for at in (995, 985))


@pytest.mark.parametrize(("metrics", "state"), [
    pytest.param([SEEN % ("healthy", 0), SEEN % ("inactive", "1.0"), LATER], "inactive", id="inactive"),
    pytest.param([SEEN % ("inactive", 1), EARLIER], "inactive", id="inactive already when this check began"),
    pytest.param([SEEN % ("healthy", 1), SEEN % ("inactive", 0), LATER], "healthy", id="active"),
    pytest.param([SEEN % ("failed", 1), LATER], "failed", id="stopped"),
    pytest.param([SEEN % ("healthy", 1), EARLIER], "", id="active when it last looked, which is long ago"),
    pytest.param([], "", id="nothing is known yet"),
    pytest.param(None, "unknown", id="the node says nothing"),
])  # fmt: skip
def test_a_node_reports_itself_whether_its_ollama_is_inactive(metrics, state):
    page = None if metrics is None else (200, "\n".join([*metrics, "node_time_seconds 1000.5"]))
    there = site("PI51", {}, [node.ai("ORIN0", "10.0.0.2")])
    kit = ScriptedKit(there, {"GET http://10.0.0.2:9100/metrics": page})
    assert check_of("kong").state_of(kit, "ollama", "10.0.0.2", time.monotonic() - 10) == state


def test_the_edge_is_asked_without_the_key():
    def edge_chat(_data: Any, headers: Any) -> Any:
        assert "apikey" not in headers, "the key is for the gateway"
        return node.OF_NANO

    seen = check_of("nginx").check(node.kit_of("nginx before an edge", {OF_THE_EDGE: edge_chat}))
    assert seen.endswith("; NANO would if no AI node did")

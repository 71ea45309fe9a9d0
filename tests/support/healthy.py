"""Nodes as the checks of `verify` see them, as far as a test looks: it changes one answer at a time."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from a_kit import ScriptedKit, site

# What the clock of a test shows.
NOW = time.time()
Answer = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Healthy:
    """Service -> port -> number, what is answered and printed, secrets, nodes, more of a service's entry."""

    ports: Mapping[str, Mapping[str, int]]
    said: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)
    cluster: Sequence[Mapping[str, Any]] = ()
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def kit_of(name: str, changed: Mapping[str, Any]) -> ScriptedKit:
    """A node `N` of HEALTHY, but for what is changed."""
    node = HEALTHY[name]
    said = {**node.said, **changed}
    kit = ScriptedKit(site("N", node.ports, node.cluster), said, said, node.secrets)
    for service, entry in node.entries.items():
        kit.services[service].update(entry)
    return kit


def prints(text: str) -> Answer:
    return lambda _argv, _stdin: text


PRIMARY, STANDBY = ({"replication": {"role": role, "node": "PI52"}} for role in ("primary", "standby"))


def of_two(**said: Any) -> Answer:
    """What one of two databases says of itself, but for this; and the row that is written there."""
    state = {"recovery": True, "streaming": 1, "lag_s": 0, "standbys": 0, **said}
    return lambda argv, _stdin: json.dumps(state) if "state" in argv else "run-1 N\n4\n"


SQL = {"postgres": {"sql": 5432}}
# A test says all that these answer.
SILENT = {
    "minio": Healthy({"minio": {"api": 9000}}, {}),
    "postgres": Healthy(SQL, {}),
    "postgres with a standby": Healthy(SQL, {}, entries={"postgres": PRIMARY}),
    "postgres as a standby": Healthy(SQL, {}, entries={"postgres": STANDBY}),
    "jetson_metrics": Healthy({"node_exporter": {"metrics": 9100}}, {}),
    "profile_wake": Healthy({"profile_wake": {"wake": 8020}}, {}),
}

MODELS = ("llama3.2:latest", "codellama:7b", "chat:latest", "code:latest", "embed:latest")


def tags(*names: str) -> dict[str, Any]:
    """The models Ollama has; the later in the list, the smaller."""
    can = {"embed:latest": ["embedding"]}
    models = [
        {"name": name, "digest": name, "size": 9 - at, "capabilities": can.get(name, ["completion"])}
        for at, name in enumerate(names)
    ]
    return {"GET /api/tags": (200, {"models": models})}


def on_the_gpu(percent: int) -> dict[str, Any]:
    """How much of the model for code is on the GPU. It was loaded under another name: its digest tells."""
    model = {"name": "codellama:7b", "digest": "code:latest", "size": 100, "size_vram": percent}
    return {"GET /api/ps": (200, {"models": [model]})}


IMAGE = {"filename": "a.png", "subfolder": "", "type": "temp"}
JOB = {"outputs": {"2": {"images": [IMAGE]}}, "status": {"status_str": "success", "completed": True}}
HUB = "/jupyter/hub"
SESSION = (302, "", ("Set-Cookie", f"jupyterhub-hub-login=session; HttpOnly; Path={HUB}/"))


AI = {
    "ollama": Healthy({"ollama": {"api": 11434}}, {
        "GET /api/version": (200, {"version": "0.32.15"}),
        **tags(*MODELS),
        **on_the_gpu(100),
        "POST /api/generate": (200, {"done": True, "response": "Yes", "eval_count": 1}),
    }),
    "comfyui": Healthy({"comfyui": {"ui": 80}}, {
        "GET /system_stats": (200, {"system": {}, "devices": [{"type": "cuda"}]}),
        "POST /prompt": (200, {"prompt_id": "p1", "number": 1, "node_errors": {}}),
        "GET /history/p1": (200, {"p1": JOB}),
        "GET /queue": (200, {"queue_running": [], "queue_pending": []}),
        "GET /view": (200, b"\x89PNG\r\n\x1a\n..."),
        "GET /models/checkpoints": (200, ["sd.safetensors", "more.ckpt"]),
        "POST /queue": (200, ""),
        "POST /history": (200, ""),
    }),
    "sonarqube": Healthy({"sonarqube": {"web": 80}}, {
        "GET /api/system/status": (200, {"version": "26.8", "status": "UP"}),
    }, {"sonarqube/admin_password": "secret"}),
    "jupyterhub": Healthy({"jupyterhub": {"hub": 80}}, {
        f"GET {HUB}/health": (200, ""),
        f"GET {HUB}/api": (200, {"version": "5.5.4"}),
        f"GET {HUB}/login": (200, "<form>"),
    }, {"jupyterhub/password": "secret"}),
}  # fmt: skip


def board(*shown: str, age_s: float = 20) -> dict[str, Any]:
    """What node_exporter hands out of a Jetson that was read so long ago."""
    seen = f"jetson_collector_seen_timestamp_seconds {NOW - age_s}"
    return {"GET /metrics": (200, "\n".join([seen, *(f"jetson_{one} 1" for one in shown)]))}


def target(job: str, health: str = "up", seen: str = "t1", error: str = "", **labels: str) -> dict[str, Any]:
    url = f"http://10.0.0.2/{job}/{labels.get('instance', '')}"
    named = {"job": job, "service": job, "node": "PI52", **labels}
    said = {"health": health, "lastScrape": seen, "lastError": error}
    return {"labels": named, "scrapePool": job, "scrapeUrl": url, **said}


def targets(*found: dict[str, Any]) -> dict[str, Any]:
    return {"GET /api/v1/targets": api(activeTargets=found)}


def rules(*found: dict[str, Any]) -> dict[str, Any]:
    return {"GET /api/v1/rules": api(groups=[{"rules": found}])}


def api(**data: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "data": data}


RULE = {"name": "Watchdog", "health": "ok"}
MONITORED = {"alertmanager": {"ports": {"web": 9093}}, "blackbox_exporter": {}, "prometheus": {}}
PI41 = {"name": "PI41", "address": "10.0.0.4", "services": MONITORED}


MONITORING = {
    "prometheus": Healthy({"prometheus": {"web": 9090}}, {
        **targets(target("kong"), target("probe")),
        **rules(RULE, {"name": "NodeDown", "health": "unknown"}),
        "GET /api/v1/query": api(result=[]),
        "GET /api/v1/alertmanagers": api(activeAlertmanagers=[{"url": "http://10.0.0.4:9093/"}]),
    }, cluster=[PI41]),
}  # fmt: skip

MESSAGE = {"message": {"role": "assistant", "content": ""}}
OF_NANO = (200, MESSAGE, ("X-AI-Node", "NANO"))
PAGES = """
<li data-node="N" data-service="comfyui"><a href="/comfyui/">open</a> asks for a key</li>
<li data-node="N" data-service="sonarqube"><a href="http://10.0.0.3:9000/">open</a></li>
<li data-node="N" data-service="jupyterhub">
  <a href="/jupyter/">open</a>
</li><p><a href="/healthz">"""
ON_THE_EDGE = {"nginx": {"ports": {"http": 8080}}, "ollama": {}}
THE_EDGE = {"name": "NANO", "tier": "edge", "address": "10.0.0.6", "services": ON_THE_EDGE}


def node_of(tier: str) -> dict[str, Any]:
    return {"name": "N", "tier": tier, "services": {"prometheus": {}}}


def ai(name: str, address: str, *, balanced: bool = True, **more: Any) -> dict[str, Any]:
    """A node with Ollama, as Kong's check sees it."""
    services = {"ollama": {"ports": {"api": 11434}}, "node_exporter": {"ports": {"metrics": 9100}}, **more}
    return {"name": name, "address": address, "balanced": balanced, "services": services}


TAGS = "http://10.0.0.1:11434/api/tags"


def can(*abilities: str) -> tuple[int, Any]:
    """What Ollama on an AI node lists."""
    return 200, {"models": [{"name": "Phi4:latest", "capabilities": list(abilities)}]}


def upstream(*found: tuple[str, int, str]) -> dict[str, Any]:
    """What Kong says of its targets: (address, weight, health)."""
    listed = [
        {"target": f"{address}:11434", "weight": weight, "health": health}
        for address, weight, health in found
    ]
    return {"GET /upstreams/ai-chat/health": (200, {"data": listed})}


def with_key(*said: Any) -> Answer:
    """An answer to those who have the key."""
    return lambda _data, sent: said if sent.get("apikey") == "the-key" else (401, {})


CONVERSATION = f"/api/v1/history/{uuid5(NAMESPACE_URL, 'run-1')}"


# What a check that comes to its end asks for twice.
STORED_THEN_DELETED: "cycle[Any]" = cycle([(200, {}), (404, {})])
# An nginx before Kong, and a Kong before AI nodes and others.
NGINX = Healthy({"kong": {}, "nginx": {"http": 80}}, {
    "GET /healthz": (200, ""),
    "GET /": (200, '<script src="portal.js">'),
    "GET /portal/health": (200, ""),
    "POST /api/v1/chat": (200, MESSAGE, ("X-AI-Node", "AGX0")),
    "POST http://10.0.0.6:8080/api/chat": OF_NANO,
}, {"kong/api_key": "the-key"}, [node_of("gateway")])  # fmt: skip
KONG = Healthy({"kong": {"proxy": 8000, "status": 8100}}, {
    "GET /status/ready": (200, {}),
    "GET /status": (200, {"configuration_hash": "ab" * 16}),
    "POST /api/v1/chat": (401, {}),
    "POST /api/v1/code": with_key(200, {"message": {"content": ""}}, ("X-AI-Node", "AGX0")),
    "GET /api/v1/image/queue": with_key(200, {"queue_running": []}),
    "POST /api/v1/image": with_key(400, {"error": {"type": "prompt_no_outputs"}}),
    "GET /api/v1/code/quality/api/system/status": with_key(200, {"status": "UP"}),
    f"GET {CONVERSATION}": lambda *_: next(STORED_THEN_DELETED),
    f"DELETE {CONVERSATION}": (200, {}),
    "GET /v1/models": with_key(200, {}, ("RateLimit-Limit", "3000")),
    f"GET {TAGS}": can("completion", "tools"),
    **upstream(("10.0.0.1", 4, "HEALTHY"), ("10.0.0.2", 1, "HEALTHY")),
}, {"kong/api_key": "the-key"}, [
    ai("AGX0", "10.0.0.1"),
    ai("ORIN0", "10.0.0.2"),
    ai("NANO", "10.0.0.3", balanced=False),
    {"name": "PI52", "address": "", "services": {"redis": {}, "postgrest": {}}},
])  # fmt: skip
GATEWAY = {
    "nginx": NGINX,
    "nginx before an edge": replace(NGINX, cluster=[*NGINX.cluster, THE_EDGE]),
    "nginx on the edge": Healthy({"ollama": {}, "nginx": {"http": 80}}, {
        "GET /healthz": (200, ""),
        "POST /api/chat": (*OF_NANO, ("X-Cache-Status", "HIT")),
        "GET /api/tags": (404, ""),
    }, cluster=[node_of("edge")]),
    "nginx with pages": Healthy({"comfyui": {}, "jupyterhub": {}, "nginx": {"http": 80}}, {
        "GET /healthz": (200, ""),
        "GET /": (200, PAGES),
        "GET /comfyui/": (401, ""),
        "GET /jupyter/": (302, ""),
    }, cluster=[node_of("secondary_ai")]),
    "kong": KONG,
    "kong without AI nodes": replace(KONG, cluster=[]),
    "kong before one service each": replace(KONG, cluster=[
        ai("ORIN0", "10.0.0.2", balanced=False, comfyui={}, sonarqube={}),
    ]),
}  # fmt: skip


def copied(number: int = 1, age_h: float | None = 2, **more: Any) -> dict[str, Any]:
    """A copy of postgres; without an age it was never made."""
    made = {} if age_h is None else {"success_at": NOW - age_h * 3600, "size_bytes": 3 << 20}
    return {"job": "postgres", "copy": number, "store": ["AGX0", "ORIN0"][number - 1], **made, **more}


def copies(*found: dict[str, Any], running: Any = None) -> dict[str, Any]:
    """What the program of the backup knows."""
    status = {"node": "N", "running": running, "copies": found}
    return {"python3 */aicluster_backup.py status": json.dumps(status)}


BACKUP = {
    "backup": Healthy({}, copies(copied(), copied(2, age_h=3)), cluster=[
        {"name": name, "services": {"backup_store": {}}} for name in ("AGX0", "ORIN0")
    ]),
}  # fmt: skip

LET_IN = 'from="10.0.0.8",restrict ssh-ed25519 AAAA aicluster-control-node\n'
BOTH_KEYS = LET_IN + LET_IN.replace("node\n", "node-backup\n")
CONTROL = {
    "control_node": Healthy({}, {
        "*ssh-keygen*": "locked\n",
        "*--graph nodes": "@nodes:\n  |--@edge:\n  |  |--agx0\n  |--10.0.0.2\n",
        "*ssh -v*": "debug1: Server accepts key: id_ed25519 ED25519\nPermission denied (publickey).\n",
        "*ActiveState*": "active\n",
    }, cluster=[{"name": "AGX0", "host": "agx0"}, {"name": "NANO", "host": "10.0.0.2"}]),
    "control_access": Healthy({}, {"find /root /home *": BOTH_KEYS}, cluster=[
        {"name": "PI51", "services": {}},
        {"name": "PI31", "host": "pi31.example", "address": "10.0.0.8", "services": {"control_node": {}}},
    ]),
}  # fmt: skip

# The first word is the service whose check is meant.
HEALTHY = SILENT | AI | MONITORING | GATEWAY | BACKUP | CONTROL

"""What a node says of its containers in Prometheus' text format."""

from typing import Any

import aicluster_containers
from aicluster_containers import active_units, samples, service_state
from programs import script
from tables import cases

ALWAYS: dict[str, Any] = {"container": True, "unit": None, "profiles": [], "memory_mb": 64}
HOST = ALWAYS | {"container": False, "unit": "ssh.service"}
HEALTHY = {"State": "running", "Status": "Up 2 minutes (healthy)"}
STARTING = {"State": "running", "Status": "Up 3 seconds (health: starting)", "RestartCount": 0}


def container(service: str, **changes: Any) -> dict[str, Any]:
    labels = {"aicluster.service": service, "com.docker.compose.service": f"{service}-main"}
    return {"Id": service, "Labels": labels, "RestartCount": 3, **HEALTHY, **changes}


ENDED = {"State": "exited", "Status": "Exited (1)"}


@cases(("entry", "containers", "state"), {
    "without a container": (ALWAYS, [], "failed"),
    "of two containers, of which one ended": (ALWAYS, [HEALTHY, ENDED], "failed"),
    "unhealthy": (ALWAYS, [{"State": "running", "Status": "Up (unhealthy)"}], "failed"),
    "of two containers, of which one still starts": (ALWAYS, [HEALTHY, STARTING], "starting"),
    "started again by Docker": (ALWAYS, [STARTING | {"RestartCount": 1}], "failed"),
    "of another profile": (ALWAYS | {"profiles": ["night"]}, [HEALTHY], "inactive"),
    "of the host, its unit not active": (HOST | {"unit": "other.service"}, [], "failed"),
})  # fmt: skip
def test_a_service_is_as_well_as_the_worst_of_it(entry, containers, state):
    assert service_state(entry, containers, "day", {"ssh.service"}) == state


def test_a_systemd_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch, capsys):
    script(tmp_path / "systemctl", "exec sleep 5")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(aicluster_containers, "SYSTEMCTL_LIMIT_S", 0.1)
    assert active_units(["ssh.service"]) == set()
    assert "systemd does not answer" in capsys.readouterr().err


def test_where_no_cgroup_says_it_there_is_no_memory_instead_of_a_wrong_one():
    found = samples({"web": ALWAYS}, [container("web")], "", set())
    assert "aicluster_container_memory_bytes" not in {name for name, _labels, _value in found}

"""What a node says of its containers in Prometheus' text format."""

from typing import Any

import aicluster_containers
import pytest
from aicluster_containers import active_units, samples, service_state
from programs import script

ALWAYS: dict[str, Any] = {"container": True, "unit": None, "profiles": [], "memory_mb": 64}
HOST = ALWAYS | {"container": False, "unit": "ssh.service"}
HEALTHY = {"State": "running", "Status": "Up 2 minutes (healthy)"}
STARTING = {"State": "running", "Status": "Up 3 seconds (health: starting)", "RestartCount": 0}


def container(service: str, **changes: Any) -> dict[str, Any]:
    labels = {"aicluster.service": service, "com.docker.compose.service": f"{service}-main"}
    return {"Id": service, "Labels": labels, "RestartCount": 3, **HEALTHY, **changes}


STATES: dict[str, tuple[Any, ...]] = {
    "healthy": ([HEALTHY], "healthy"),
    "no container": ([], "failed"),
    "one of two ended": ([HEALTHY, {"State": "exited", "Status": "Exited (1)"}], "failed"),
    "unhealthy": ([{"State": "running", "Status": "Up (unhealthy)"}], "failed"),
    "one of two still starting": ([HEALTHY, STARTING], "starting"),
    "started again by Docker": ([STARTING | {"RestartCount": 1}], "failed"),
    "one starting, one ended": ([STARTING, {"State": "exited", "Status": "Exited (1)"}], "failed"),
}


@pytest.mark.parametrize(("containers", "state"), STATES.values(), ids=STATES)
def test_a_service_is_as_well_as_the_worst_of_its_containers(containers, state):
    assert service_state(ALWAYS, containers, "", set()) == state


@pytest.mark.parametrize(("profile", "state"), [("day", "healthy"), ("night", "inactive")])
def test_a_service_of_another_profile_is_inactive(profile, state):
    assert service_state(ALWAYS | {"profiles": ["day"]}, [HEALTHY], profile, set()) == state


@pytest.mark.parametrize(("entry", "units", "state"), [
    (HOST, {"ssh.service"}, "healthy"), (HOST, set(), "failed"), (HOST | {"unit": None}, set(), "healthy"),
], ids=["its unit is active", "its unit is not", "it has none: a tool"])  # fmt: skip
def test_what_the_host_itself_runs_is_as_well_as_its_unit(entry, units, state):
    assert service_state(entry, [], "", units) == state


def test_a_systemd_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch, capsys):
    script(tmp_path / "systemctl", "exec sleep 5")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(aicluster_containers, "SYSTEMCTL_LIMIT_S", 0.1)
    assert active_units(["ssh.service"]) == set()
    assert "systemd does not answer" in capsys.readouterr().err


def test_where_no_cgroup_says_it_there_is_no_memory_instead_of_a_wrong_one():
    found = samples({"web": ALWAYS}, [container("web")], "", set())
    assert "aicluster_container_memory_bytes" not in {name for name, _labels, _value in found}

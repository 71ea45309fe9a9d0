"""A run about one role alone: what it touches, and what it leaves as it is."""

import pytest
from render import hosts_running, renderer

from aicluster.engine.desired import desired_state
from aicluster.engine.facts import engine_changes, services_there
from aicluster.engine.scope import Scope

HOST = hosts_running("postgrest")[0]


def desired(only, *there):
    return desired_state(renderer("production", HOST), Scope(only, there))[0]


def test_its_own_files_are_those_of_a_run_about_the_whole_node():
    whole = desired_state(renderer("production", HOST))[0]
    for service in ("postgres", "postgrest"):
        alone = [file for file in desired(service).files if file.owner == service]
        assert alone == [file for file in whole.files if file.owner == service]


def test_a_service_is_there_if_the_project_can_include_it():
    whole = desired_state(renderer("production", HOST))[0]
    compose = "/opt/aicluster/redis/compose.yaml"
    missing = {file.path for file in whole.files} - {compose}
    found = [{"path": path, "reason": "missing"} for path in missing]
    assert services_there(whole, {"differing": found}) == ["redis"]
    assert services_there(whole, {"differing": [*found, {"path": compose, "reason": "missing"}]}) == []


def test_what_others_left_on_the_node_is_not_this_run_s():
    found = {"leftover": ["/opt/aicluster/kong/x"], "orphans": ["kong"], "differing": []}
    assert Scope("redis").seen(found) == {"leftover": [], "orphans": [], "differing": []}
    assert Scope().seen(found) == found


@pytest.mark.parametrize(("only", "more", "changes"), [
    pytest.param("docker_engine", {"prepare_needed": True}, True, id="of the engine, with work"),
    pytest.param("docker_engine", {"prepare_needed": False}, False, id="of an engine as it should be"),
    pytest.param("redis", {"engine_changes": True}, True, id="of a service after the engine's"),
])  # fmt: skip
def test_in_check_mode_the_engine_is_as_predicted_after_a_plan(only, more, changes):
    assert engine_changes({"scope": {"only": only}, **more}) is changes

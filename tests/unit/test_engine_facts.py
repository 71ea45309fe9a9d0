"""What a run knows of a node: what is new there, what the run brings, and what it is about."""

from inspected import FOUND, conditions, container, files, inspected
from render import hosts_running, renderer
from tables import cases

from aicluster.engine.desired import Desired, desired_state
from aicluster.engine.facts import (
    new_services,
    pull_findings,
    services_there,
    to_record,
    wanted_of,
)
from aicluster.engine.files import File
from aicluster.engine.plan import make_plan

HOST = hosts_running("postgrest")[0]
COMPOSE, CHECK = "/opt/aicluster/redis/compose.yaml", "/opt/aicluster/checks/redis.py"
WHOLE = desired_state(renderer("production", HOST))[0]
LIMITS = {**WHOLE.limits, "disk_gb": {"redis": 3}, "memory_mb": None}
REDIS = Desired(
    files=[File(path, b"", "redis") for path in (COMPOSE, CHECK)],
    containers={"redis": "d1"},
    container_owner={"redis": "redis"},
    volumes={"redis": ["redis_data"]},
    limits=LIMITS,
)
NO_FILE, NO_CONTAINER = files("missing", COMPOSE, CHECK), container("missing", "redis")


@cases(("found", "new"), {
    "nothing of it is there": (NO_FILE | NO_CONTAINER, ["redis"]),
    "an interrupted run left files": (files("missing", COMPOSE) | NO_CONTAINER, []),
    "its container is there": (NO_FILE, []),
    "a cleanup left its data": (NO_FILE | NO_CONTAINER | conditions(volumes=["redis_data"]), []),
})  # fmt: skip
def test_a_service_is_new_when_a_node_has_nothing_of_it(found, new):
    assert new_services(REDIS, inspected(**found)) == new


@cases(("packages", "coming", "recorded"), {
    "nothing": ([], {"engine": False, "compose": False}, False),
    "the engine": (["docker-ce"], {"engine": True, "compose": True}, True),
    "the client": (["docker-ce-cli"], {"engine": False, "compose": True}, True),
    "something else": (["jq"], {"engine": False, "compose": False}, False),
})  # fmt: skip
def test_what_a_run_installs_is_not_missed_and_recorded_with_its_repository(packages, coming, recorded):
    found = inspected(packages=packages, unfinished=[{"name": "theirs", "why": "unpacked"}])
    wanted = wanted_of(REDIS, found)
    assert (wanted["engine"]["coming"], wanted["packages"]) == (coming, packages)
    assert to_record({**make_plan(REDIS, found, {}), "wanted": wanted}) == {
        "packages": [*packages, *["python3-debian"] * recorded],
        "sources": LIMITS["engine"]["repository"]["files"] if recorded else [],
    }


def test_after_a_pull_an_engine_that_was_to_be_installed_must_be_new_enough():
    plan = {"found": FOUND, "wanted": wanted_of(REDIS, inspected(packages=["docker-ce"]))}
    engine = {"version": "19.03", "api": "1.40"}
    [finding] = pull_findings(plan, {"engine": engine, "images": {}}, "PI52")
    assert finding.startswith("Docker Engine of PI52 19.03 (API 1.40): must be")


def test_a_service_is_there_if_the_project_can_include_it():
    missing = {file.path for file in WHOLE.files} - {COMPOSE}
    found = [{"path": path, "reason": "missing"} for path in missing]
    assert services_there(WHOLE, {"differing": found}) == ["redis"]
    assert services_there(WHOLE, {"differing": [*found, {"path": COMPOSE, "reason": "missing"}]}) == []

"""What of a site would not be backed up is found before a node is touched."""

from copy import deepcopy

import pytest
import render
from backups import node
from site_description import production
from tree import ROOT

from aicluster.backup.findings import backup_problems, volume_problems

DATA = {"backup": [{"volume": "v"}], "disk_gb": 30}


STORES = [node("B", 100), node("C", 50)]


@pytest.mark.parametrize("services", [
    pytest.param({"web": DATA}, id="of all the service may have"),
    pytest.param({"web": DATA, "art": {"backup": [{"volume": "a", "copies": 1}], "disk_gb": 60}},
        id="of what has one copy only the larger one"),
    pytest.param({"web": {"backup": [{"volume": "v", "disk_gb": 9}], "disk_gb": 900}},
        id="of an entry that says how much it may have"),
    pytest.param({"web": {"backup": [{"volume": "v", "none": "It fills again."}], "disk_gb": 900}},
        id="of a volume that is not kept"),
])  # fmt: skip
def test_a_store_has_room_for_what_is_sent_there(services):
    assert backup_problems([node("A", **services), *STORES]) == []


@pytest.mark.parametrize(("services", "unnamed"), [
    pytest.param({"web": {"backup": [{"volume": "v"}, {"dump": "bin/x", "volume": "w"}]}}, [],
        id="all named"),
    pytest.param({"web": {"backup": [{"volume": "v", "none": "It fills again."}]}}, ["w"],
        id="one forgotten"),
    pytest.param({"web": {"backup": [{"dump": "bin/x"}]}}, ["v", "w"], id="a dump that does not say of what"),
    pytest.param({"web": {"beside": ["db"]}, "db": {"backup": [{"volume": "v"}, {"volume": "w"}]}}, [],
        id="volumes of the service it works beside"),
    pytest.param({"web": {}, "db": {"backup": [{"volume": "v"}, {"volume": "w"}]}}, ["v", "w"],
        id="volumes of another service"),
])  # fmt: skip
def test_a_volume_that_no_entry_names_is_found(services, unnamed):
    found = [problem.partition(":")[0] for problem in volume_problems([services], {"web": ["v", "w"]})]
    assert found == [f"volume {volume} of service web unnamed" for volume in unnamed]


@pytest.mark.parametrize("inventory", ["production", "lab"])
def test_what_is_read_of_a_template_is_what_compose_is_given(inventory):
    read = production()["volumes"]
    for one in deepcopy(render.cluster(inventory)):
        for service in [service for service in one["services"] if service in read and service != "backup"]:
            given = render.compose_of(service, inventory=inventory, host=one["host"])
            assert read[service] == list(given.get("volumes") or {}), (service, one["name"])


def test_a_template_whose_volumes_are_no_yaml_is_named(tmp_path):
    import site_preflight
    from ansible.errors import AnsibleError

    file = tmp_path / "web/templates/opt/aicluster/web/compose.yaml.j2"
    file.parent.mkdir(parents=True)
    file.write_text("volumes:\n  v: [\n")
    with pytest.raises(AnsibleError, match=r"web/compose\.yaml\.j2: volumes: must be YAML"):
        site_preflight.volumes_of(tmp_path)
    assert site_preflight.volumes_of(ROOT / "roles")["redis"] == ["redis_data"]

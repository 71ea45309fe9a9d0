"""What `roles: [<role>]` does by itself; run by molecule's scenario `role` for the role AICLUSTER_ROLE."""

import os

import site_under_test as site
from tree import ROOT

ROLE = os.environ["AICLUSTER_ROLE"]
PLAY = "molecule/role/converge.yml"
PLACED = site.running(ROLE)
NODE = PLACED[0] if PLACED else site.nodes()[0]
ELSEWHERE = [node for node in site.nodes() if node not in PLACED]
SERVICE = NODE.services.get(ROLE, {})
NEEDED = [*SERVICE.get("beside", []), *SERVICE.get("needs", [])]


def containers() -> dict[str, str]:
    """Service -> what Docker says of its main container on the node."""
    listed = site.shell(
        NODE, "docker ps --all --format '{{.Label \"aicluster.service\"}}={{.State}} {{.Status}}'"
    )
    return dict(line.split("=", 1) for line in listed.splitlines())


# Which of these a role has to keep depends on what it is; none is left out for one it applies to.
if SERVICE.get("image"):

    def test_its_container_is_healthy_or_waits_for_its_profile():
        wanted = "created" if ROLE in NODE.inactive else "(healthy)"
        assert wanted in containers()[ROLE]


if SERVICE.get("unit"):

    def test_its_unit_is_active():
        state = site.shell(NODE, f"systemctl show --value -p ActiveState {SERVICE['unit']}").strip()
        assert state in ("active", "activating")


if SERVICE:

    def test_no_other_service_came_with_it():
        there = site.shell(NODE, "ls /opt/aicluster").split()
        assert set(there) & set(NODE.services) <= {ROLE, *NEEDED}
        if SERVICE["image"]:
            assert set(containers()) <= {ROLE, *NEEDED}

else:

    def test_its_files_are_there():
        templates = ROOT / "roles" / ROLE / "templates"
        files = [path.relative_to(templates) for path in templates.rglob("*") if path.is_file()]
        assert files
        for file in files:
            site.shell(NODE, f"test -s /{str(file).removesuffix('.j2')}")


if SERVICE and ELSEWHERE:

    def test_it_refuses_a_host_it_is_not_placed_on():
        other = ELSEWHERE[0].address
        done = site.run_playbook(PLAY, "--limit", other, "-e", f"role_host={other}")
        assert done.code != 0
        assert f"service {ROLE} is not placed on {ELSEWHERE[0].name}" in done.output
        assert site.shell(ELSEWHERE[0], f"find /opt -path '/opt/aicluster/{ROLE}*'") == ""

"""What holds on every node, whatever it runs."""

import json

import pytest


def containers(host):
    """Compose's own view of the project: one dict per container."""
    listed = host.check_output("docker compose --project-directory /opt/aicluster ps --all --format json")
    return [json.loads(line) for line in listed.splitlines()]


def test_the_node_has_no_failed_unit(host):
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_exactly_the_placed_services_run_and_are_healthy(host, node):
    if not node.containers:
        assert host.check_output("docker ps --all --quiet") == ""
        return
    found = {item["Service"]: (item["State"], item["Health"]) for item in containers(host)}
    assert set(node.containers) <= set(found)
    running = {service for service, (state, _) in found.items() if state == "running"}
    assert not running & node.asleep, "what belongs to another mode sleeps"
    labelled = host.check_output("docker ps --all --format '{{.Label \"aicluster.service\"}}'").split()
    assert set(labelled) == set(node.containers), "a container of a service that is not placed here"
    assert {found[service] for service in running} == {("running", "healthy")}, found
    assert set(found) - running <= node.asleep, found


def test_a_container_starts_again_after_a_reboot(host):
    for container in host.check_output("docker ps --quiet").split():
        policy = host.check_output(
            "docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' %s", container
        )
        assert policy == "unless-stopped"


def test_services_come_up_at_boot_whatever_docker_remembers(host, node):
    assert (host.run("systemctl is-enabled aicluster-stack").rc == 0) is bool(node.containers)


def test_a_container_has_the_memory_limit_of_the_catalogue(host, node):
    for service, entry in node.containers.items():
        container = host.check_output(
            "docker ps --all --quiet --filter label=aicluster.service=%s", service
        ).split()[0]
        limit = host.check_output("docker inspect --format '{{.HostConfig.Memory}}' %s", container)
        assert int(limit) == entry["memory_mb"] * 1024 * 1024, service


def test_only_published_ports_of_the_catalogue_listen_beside_ssh(host, node):
    expected = {node.entry["ssh_port"]} | {
        port["port"] for entry in node.services.values() for port in entry["ports"].values() if port["from"]
    }
    listening = host.check_output("ss -Htln").splitlines()
    outside = {
        int(address.rsplit(":", 1)[1])
        for address in (line.split()[3] for line in listening)
        if not address.startswith(("127.", "[::1]"))
    }
    assert outside <= expected, f"nobody asked for {sorted(outside - expected)}"


@pytest.mark.parametrize("path", ["/etc", "/usr", "/var", "/root", "/opt"])
def test_the_run_left_the_system_folders_to_root(host, path):
    folder = host.file(path)
    assert (folder.user, folder.group) == ("root", "root")
    assert not folder.mode & 0o022


def test_the_run_left_no_half_written_file(host):
    assert host.run("find /opt/aicluster /etc -name '*.aicluster-new'").stdout == ""

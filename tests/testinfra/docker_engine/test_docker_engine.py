"""What the role docker_engine promises of every node: an engine as configured, and compose as its plugin."""

import json

import site_under_test as site


def test_the_engine_runs_and_starts_with_the_node(host):
    unit = host.service("docker")
    assert unit.is_running and unit.is_enabled


def test_our_part_is_in_the_configuration_of_the_engine(host, node):
    found = json.loads(host.file("/etc/docker/daemon.json").content_string)
    wanted = site.setting(node, "docker_engine", "docker_engine_options")
    registries = site.setting(node, "docker_engine", "docker_engine_insecure_registries")
    assert wanted.items() <= found.items()
    assert found.get("insecure-registries", []) == registries


def test_the_engine_has_read_it(host):
    assert host.check_output("docker info --format '{{.LiveRestoreEnabled}}'") == "true"


def test_containers_log_to_the_journal(host):
    assert host.check_output("docker info --format '{{.LoggingDriver}}'") == "journald"


def test_compose_is_a_plugin_of_the_engine(host):
    assert int(host.check_output("docker compose version --short").lstrip("v").split(".")[0]) >= 2

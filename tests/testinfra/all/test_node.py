"""What holds on every node, whatever it runs."""

import pytest


def test_the_node_has_no_failed_unit(host):
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


@pytest.mark.parametrize("path", ["/etc", "/usr", "/var", "/root", "/opt"])
def test_the_run_left_the_system_folders_to_root(host, path):
    folder = host.file(path)
    assert (folder.user, folder.group) == ("root", "root")
    assert not folder.mode & 0o022


def test_the_engine_runs_with_the_configuration_of_the_toolkit(host):
    shown = host.check_output("docker info --format '{{.LiveRestoreEnabled}} {{.LoggingDriver}}'")
    assert shown == "true journald"


def test_the_run_left_no_half_written_file(host):
    assert host.run("find /opt/aicluster /etc -name '*.aicluster-new'").stdout == ""

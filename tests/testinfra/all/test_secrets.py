"""A secret lies in its own file, for its one reader, and shows nowhere else."""

import secret_scan
import site_under_test as site


def test_a_secret_is_readable_by_its_service_alone(host):
    found = host.run("find /opt/aicluster -path '*/secrets/*' -type f -printf '%m %p\\n'").stdout
    assert not [line for line in found.splitlines() if not line.startswith("400 ")]


def test_no_secret_shows_in_files_processes_containers_logs_or_the_journal(node, secrets):
    """Every value of the site is looked for on every node, whether it has business there or not."""
    python = site.variable(node, "ansible_python_interpreter | default('python3')")
    assert secret_scan.run([*site.as_root(node), python], secrets) == []

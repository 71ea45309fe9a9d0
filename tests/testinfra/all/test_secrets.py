"""A secret shows nowhere but in its own file, which one user reads."""

import secret_scan
import site_under_test as site


def test_no_secret_shows_in_files_processes_containers_logs_or_the_journal(node, secrets):
    """Every value of the site is looked for on every node, whether it has business there or not."""
    python = site.variable(node, "ansible_python_interpreter | default('python3')")
    assert secret_scan.run([*site.as_root(node), python], secrets) == []

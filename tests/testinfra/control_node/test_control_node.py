"""The control node has the toolkit itself, which nobody but root changes, and starts the backup in time."""

import site_under_test as site

RELEASES = "/opt/aicluster-toolkit"
TIMER = "aicluster-backup.timer"


def test_the_installed_toolkit_runs_with_the_locked_ansible(host):
    import ansible.release

    said = host.check_output("/opt/aicluster/bin/aicluster-toolkit ansible --version")
    assert said.startswith(f"ansible [core {ansible.release.__version__}]")


def test_what_works_as_root_on_every_node_is_root_s_to_change(host):
    open_to_others = r"\( -not -user root -o -perm /022 \) -not -type l"
    assert host.check_output(f"find {RELEASES}/current/ {open_to_others}") == ""


def test_the_nightly_backup_starts_when_the_inventory_says(host, node):
    timer = host.service(TIMER)
    assert timer.is_enabled and timer.is_running
    calendar = host.check_output(f"systemctl show -p TimersCalendar --value {TIMER}")
    assert f"OnCalendar={site.setting(node, 'control_node', 'control_node_backup_at')} " in calendar

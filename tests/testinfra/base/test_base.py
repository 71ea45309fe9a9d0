"""What the role base promises of every node: kernel settings, a bounded journal, ssh by key."""

import pytest
import site_under_test as site


def test_the_kernel_has_the_settings_now_and_not_only_after_the_next_boot(host, node):
    wanted = {**site.setting(node, "base", "base_sysctl"), "net.ipv4.ip_nonlocal_bind": 1}
    found = {key: host.check_output("cat /proc/sys/%s", key.replace(".", "/")).split() for key in wanted}
    assert found == {key: str(value).split() for key, value in wanted.items()}


def test_the_journal_stays_on_disk_and_cannot_fill_it(host, node):
    lines = host.check_output("systemd-analyze cat-config systemd/journald.conf").splitlines()
    # Of all files that set a key the last counts.
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert found["Storage"] == "persistent"
    assert found["SystemMaxUse"] == f"{site.setting(node, 'base', 'base_journal_max_mb')}M"
    assert found["RateLimitBurst"] == "10000"
    assert host.file("/var/log/journal").is_directory
    assert host.service("systemd-journald").is_running


@pytest.fixture
def a_drop_in_of_the_image(host):
    path = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
    host.check_output(f"printf 'PasswordAuthentication yes\\nPermitRootLogin no\\n' > {path}")
    yield
    host.check_output(f"rm {path}")


@pytest.mark.usefixtures("a_drop_in_of_the_image")
def test_ssh_takes_keys_only_and_forwards_no_screen_whatever_the_image_brought(host):
    effective = set(host.check_output("sshd -T").splitlines())
    assert effective >= {"passwordauthentication no", "kbdinteractiveauthentication no", "x11forwarding no"}
    assert "permitrootlogin no" in effective, "whether root may log in is the administrator's to say"

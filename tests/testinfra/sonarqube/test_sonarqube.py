"""The host is what SonarQube's search engine needs, and no password is where others could read it."""

import pytest


@pytest.mark.parametrize(("name", "least"), [("vm.max_map_count", 524288), ("fs.file-max", 131072)])
def test_the_host_has_what_the_search_engine_asks_for(host, node, name, least):
    assert int(host.check_output("cat /proc/sys/%s", name.replace(".", "/"))) >= least, node.name


def test_no_password_is_in_the_settings_of_the_container(host):
    container = host.check_output(
        "docker ps --all --quiet --filter label=aicluster.service=sonarqube"
    ).split()[0]
    shown = host.check_output("docker inspect %s", container)
    for name in ("admin_password", "passcode"):
        secret = host.check_output("cat /opt/aicluster/sonarqube/secrets/%s", name)
        assert secret not in shown, name

"""The host is what SonarQube's search engine needs."""

import pytest


@pytest.mark.parametrize(("name", "least"), [("vm.max_map_count", 524288), ("fs.file-max", 131072)])
def test_the_host_has_what_the_search_engine_asks_for(host, node, name, least):
    assert int(host.check_output("cat /proc/sys/%s", name.replace(".", "/"))) >= least, node.name

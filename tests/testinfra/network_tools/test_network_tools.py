"""The operator's network tool on the real network of the site; `verify` asks whether every node answers."""

import site_under_test as site


def test_a_scan_finds_every_other_node_and_calls_a_device_of_no_inventory_unknown(host, node):
    run = host.run("/opt/aicluster/bin/aicluster-net scan")
    assert run.rc in (0, 1), run.stderr
    names = {row[1]: row[0] for row in (line.split("\t") for line in run.stdout.splitlines())}
    assert {n.address: n.name for n in site.nodes() if n != node}.items() <= names.items()
    assert names[site.variable(node, "site_image_mirror").partition(":")[0]] == "unknown"

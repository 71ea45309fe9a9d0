"""The operator's network tool, let loose on the real network of the site."""

import json

import site_under_test as site

NET = "/opt/aicluster/bin/aicluster-net"


def said(host, command, codes=(0,)):
    run = host.run(f"{NET} {command} --json")
    assert run.rc in codes, run.stderr
    return json.loads(run.stdout)


def test_every_other_node_answers(host, node):
    findings = {one["what"]: one for one in said(host, "check")["findings"]}
    others = {other.name for other in site.nodes()} - {node.name}
    assert others <= set(findings)
    assert all(findings[name]["state"] == "ok" for name in others), findings


def test_a_scan_finds_every_node_and_nothing_outside_the_site(host, node):
    found = {device["address"]: device for device in said(host, "scan", (0, 1))["devices"]}
    assert found[node.address]["mac"] is None, "this machine"
    assert {other.address: other.name for other in site.nodes()}.items() <= {
        address: device["name"] for address, device in found.items()
    }.items()
    assert {device["kind"] for device in found.values()} <= {"node", "router", "known", "unknown"}


def test_a_device_of_no_inventory_is_called_unknown(host, node):
    mirror = site.variable(node, "site_image_mirror").partition(":")[0]
    inside = [device for device in said(host, "scan", (0, 1))["devices"] if device["address"] == mirror]
    assert [device["kind"] for device in inside] == (["unknown"] if site.INVENTORY == "lab" else [])


def test_a_node_without_a_known_mac_address_is_not_woken_but_explained(host, node):
    run = host.run(f"{NET} wake {node.name}")
    assert (run.rc, "node_mac" in run.stderr) == ((2, True) if node.entry["mac"] is None else (0, False))

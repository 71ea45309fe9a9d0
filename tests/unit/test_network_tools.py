"""The operator's network tool in a made-up network; tests/testinfra/network_tools has a real one."""

import os
import subprocess

import render
from a_kit import check_of
from aicluster_verify import CheckError, Kit
from programs import script
from tables import cases

# ORIN0 (.157) drops ping. A case sets who is `away`, the `other` device, and whether we are `elsewhere`.
PROGRAMS = {
    "ping": 'case " $away 192.168.1.157 " in *" $9 "*) ;; *) echo "rtt a/b/c/d = 1/0.5/1/1 ms" ;; esac',
    "timeout": 'case "$*" in *"/${away:-nobody}/"*) exit 1 ;; esac',
    "ip": '[ "$elsewhere" ] || echo "2: eth0    inet 192.168.1.234/24 brd 192.168.1.255 scope global eth0"',
    "arp-scan": 'printf "Type: EN\n%b\n" "192.168.1.154\t48:b0:2d:00:00:01\tNVIDIA" "192.168.1.$other"',
    "etherwake": 'echo "$@"',
}


@cases(("arguments", "world", "code", "said"), {
    "a node without ping is a warning": ("check", {}, 0, "warn  ORIN0       192.168.1.157    ping -, sshd a"),
    "a silent node is a failure": ("check", {"away": "192.168.1.154"}, 1, "fail  AGX0"),
    "a node is known by its MAC address": ("scan", {}, 0, "AGX0\t192.168.1.154"),
    "a device is not known": ("scan", {"other": "9\taa:bb:cc:00:00:02\tX"}, 1, "unknown\t192.168.1.9"),
    "a device has the address of a node": ("scan", {"other": "154\taa:00:00:00:00:02\tX"}, 1, "unknown\t192"),
    "nothing leaves the site": ("scan", {"elsewhere": "1"}, 2, "no address in 192.168.1.0/24"),
    "a node is woken by name": ("wake agx0", {}, 0, "-b -i eth0 48:B0:2D:00:00:01\n"),
    "an unknown name lists the names": ("wake AGX1", {}, 2, "no other node AGX1; there are PI51, AGX0"),
})  # fmt: skip
def test_the_tool_says_what_it_found_and_its_exit_code_sums_it_up(tmp_path, arguments, world, code, said):
    macs = {"AGX0": "48-B0-2D-00-00-01"}
    nodes = [{**node, "mac": macs.get(node["name"])} for node in render.cluster("production")]
    known = [{"name": "the printer", "mac": "AA:BB:CC:00:00:01"}]
    changed = {"cluster_nodes": nodes, "network_tools_known_devices": known}
    files = render.render_role("network_tools", overrides=changed)
    for name, text in PROGRAMS.items():
        script(tmp_path / name, text)
    command = ["bash", "-c", files["/opt/aicluster/bin/aicluster-net"], "aicluster-net", *arguments.split()]
    environment = {**world, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done


@cases(("tool", "said"), {
    "all is healthy": ("echo ok router x; echo warn NANO y", "router and 1 nodes answer; NANO: y"),
    "a node is the cause": ("echo fail PI51 x; (exit 1)", "answer: x ['node_exporter on PI51']"),
    "a tool that could do nothing has failed": ("echo no network >&2; (exit 2)", "no network []"),
    "silence is no health": ("true", "aicluster-net prints nothing []"),
})  # fmt: skip
def test_verify_counts_the_nodes_or_names_who_does_not_answer(monkeypatch, tool, said):
    check_file = check_of("network_tools")
    monkeypatch.setattr(check_file, "NET", tool)
    try:
        told = check_file.check(Kit({"node": "PI31", "services": {}, "cluster": []}, "run-1"))
    except CheckError as failure:
        told = f"{failure.evidence} {failure.caused_by}"
    assert told.endswith(said)

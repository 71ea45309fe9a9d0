#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator asks of the site's network: is everything reachable, wake that node, who else is here.

    aicluster-net check               router, nodes, names, clock; rc 1 when router or a node does not answer
    aicluster-net wake AGX0           wake-on-LAN; --wait 180 waits until ssh answers
    aicluster-net scan                devices of the site's network; rc 1 when there is one nobody knows

Each knows --json. Source: /opt/aicluster/network.json, written by the toolkit from its inventory. Nothing is
sent outside the site's network but one name lookup and one connection to `internet`, and neither if that is
empty. Python 3.6 and its standard library are enough.
"""

import argparse
import concurrent.futures
import email.utils
import http.client
import ipaddress
import json
import re
import socket
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

SITE_FILE = "/opt/aicluster/network.json"
DISCARD_PORT = 9
CONNECT_LIMIT_S = 2.0
NAME_LIMIT_S = 3.0
# A neighbour that was heard of earlier is asked again by the kernel: 5 s of patience, then three questions.
NEIGHBOUR_LIMIT_S = 12.0
CLOCK_LIMIT_S = 2.0
BIGGEST_NETWORK = 1024  # addresses: what the kernel's neighbour table holds without being told to
AT_ONCE = 16
MAC_BYTES = 6
UNSETTLED = ("INCOMPLETE", "DELAY", "PROBE")
THERE = ("REACHABLE", "PERMANENT", "NOARP", "STALE")

Site = Mapping[str, Any]


class NetError(Exception):
    """What was asked cannot be done; the text says why and what to do."""


# ---------------------------------------------------------------- pure functions


def mac_text(mac: str) -> str:
    """Return a MAC address as the kernel writes it: aa:bb:cc:dd:ee:ff."""
    digits = re.sub(r"[^0-9a-fA-F]", "", mac).lower()
    if len(digits) != 2 * MAC_BYTES:
        raise NetError("%r is no MAC address: it needs twelve hexadecimal digits" % mac)
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def magic_packet(mac: str) -> bytes:
    """Return what wakes the machine with this MAC address (AMD, Magic Packet Technology, 1995)."""
    return b"\xff" * MAC_BYTES + bytes.fromhex(mac_text(mac).replace(":", "")) * 16


def is_random(mac: str) -> bool:
    """Tell whether a MAC address was made up by its device, as phones do (IEEE 802: the local bit)."""
    return bool(int(mac[:2], 16) & 2)


def ping_ms(said: str) -> Optional[float]:
    """Return the mean round trip in milliseconds of what ping(8) said, None when nothing came back."""
    found = re.search(r"= [\d.]+/([\d.]+)/", said)
    return float(found.group(1)) if found else None


def default_route(said: str) -> Optional[str]:
    """Return the address of the default route in `ip -4 route show default`, None without one."""
    found = re.search(r"^default via (\S+)", said, re.M)
    return found.group(1) if found else None


def neighbours(said: str, network: str) -> Dict[str, Tuple[Optional[str], str]]:
    """Return {address: (MAC address or None, state)} of `ip -4 neigh show`, inside the network only."""
    inside = ipaddress.ip_network(network)
    found = {}
    for line in said.splitlines():
        words = line.split()
        if words and ipaddress.ip_address(words[0]) in inside:
            mac = words[words.index("lladdr") + 1] if "lladdr" in words else None
            found[words[0]] = (mac, words[-1])
    return found


def own_addresses(said: str, network: str) -> Dict[str, str]:
    """Return {address: interface} of `ip -4 -o addr show`, inside the network only."""
    inside = ipaddress.ip_network(network)
    pairs = re.findall(r"^\d+: (\S+)\s+inet ([\d.]+)/", said, re.M)
    return {address: name for name, address in pairs if ipaddress.ip_address(address) in inside}


def targets(network: str) -> List[str]:
    """Return every address of the network that may be a device; refuse one too big to ask."""
    whole = ipaddress.ip_network(network)
    if whole.num_addresses > BIGGEST_NETWORK:
        raise NetError(
            "the site's network %s has %d addresses: a scan asks at most %d"
            % (network, whole.num_addresses, BIGGEST_NETWORK)
        )
    return [str(address) for address in whole.hosts()]


def identify(site: Site, address: str, mac: Optional[str]) -> Tuple[str, str]:
    """Return (name, kind) of a device; kind: node, router, known, impostor, unknown.

    An impostor answers at the address of a node whose MAC address is another one.
    """
    for node in site["nodes"]:
        if node["address"] == address:
            other = mac is not None and node["mac"] is not None and mac_text(node["mac"]) != mac
            return node["name"], "impostor" if other else "node"
    if address == site["router"]:
        return "router", "router"
    for device in site["known_devices"]:
        same_mac = mac is not None and device.get("mac") and mac_text(device["mac"]) == mac
        if same_mac or device.get("address") == address:
            return device["name"], "known"
    return "", "unknown"


def devices(
    site: Site, found: Mapping[str, Tuple[Optional[str], str]], own: Iterable[str]
) -> List[Dict[str, Any]]:
    """Return the devices that are there, by address: {address, mac, name, kind, note}."""
    macs = {address: mac for address, (mac, state) in found.items() if mac and state in THERE}
    present = dict(macs, **dict.fromkeys(own))
    listed = []
    for address in sorted(present, key=ipaddress.ip_address):
        mac = present[address]
        name, kind = identify(site, address, mac)
        note = ""
        if kind == "impostor":
            [node] = [node for node in site["nodes"] if node["address"] == address]
            note = "%s has %s" % (name, mac_text(node["mac"]))
        elif kind == "unknown" and mac and is_random(mac):
            note = "made-up MAC address, as phones have"
        listed.append({"address": address, "mac": mac, "name": name, "kind": kind, "note": note})
    return listed


def clock_offset(date: str, now: float) -> Optional[float]:
    """Return by how many seconds a clock is ahead of ours; `date` is an HTTP Date, cut to whole seconds."""
    parsed = email.utils.parsedate_tz(date)
    return None if parsed is None else email.utils.mktime_tz(parsed) + 0.5 - now


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def milliseconds(value: Optional[float]) -> str:
    """Return a latency for people."""
    return "-" if value is None else "%.1f ms" % value


# ---------------------------------------------------------------- the machine


def run(argv: Sequence[str], limit_s: float = 10) -> str:
    """Return stdout of a command, whatever its exit code; nothing when it is missing or hangs."""
    try:
        done = subprocess.run(
            list(argv), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limit_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def ping(address: str) -> Optional[float]:
    """Return the round trip in milliseconds, None without an answer."""
    return ping_ms(run(["ping", "-n", "-q", "-c", "2", "-i", "0.2", "-W", "2", address]))


def connect_ms(address: str, port: int, limit_s: float = CONNECT_LIMIT_S) -> Optional[float]:
    """Return how long a TCP connection takes in milliseconds, None when there is none."""
    began = time.monotonic()
    try:
        socket.create_connection((address, port), timeout=limit_s).close()
    except OSError:
        return None
    return (time.monotonic() - began) * 1000


def within(limit_s: float, ask: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call that cannot be told to hurry returns, None after `limit_s` or an OSError."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(ask, *arguments).result(timeout=limit_s)
    except (concurrent.futures.TimeoutError, OSError):
        return None
    finally:
        pool.shutdown(wait=False)


def http_date(server: str) -> Optional[str]:
    """Return the Date header of an HTTP server (`address:port`), None without an answer."""
    connection = http.client.HTTPConnection(server, timeout=CONNECT_LIMIT_S)
    try:
        connection.request("HEAD", "/healthz")
        return connection.getresponse().getheader("Date")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


# ---------------------------------------------------------------- check


def finding(what: str, state: str, shown: str, **more: Any) -> Dict[str, Any]:
    """Return one line of `check`; state: ok, warn (worth a look), fail."""
    return dict({"what": what, "state": state, "shown": shown}, **more)


def check_node(node: Mapping[str, Any]) -> Dict[str, Any]:
    """Ask one node: reachable is what lets us in by ssh; some networks drop ping."""
    echo, ssh = ping(node["address"]), connect_ms(node["address"], node["ssh_port"])
    state = "fail" if ssh is None else "warn" if echo is None else "ok"
    shown = "%s  ping %s, ssh %s" % (node["address"], milliseconds(echo), milliseconds(ssh))
    return finding(node["name"], state, shown, address=node["address"], ping_ms=echo, ssh_ms=ssh)


def check_router(site: Site) -> Dict[str, Any]:
    """Ask the router, and whether the way out leads there."""
    router, via = site["router"], default_route(run(["ip", "-4", "route", "show", "default"]))
    echo = ping(router)
    shown = "%s  ping %s" % (router, milliseconds(echo))
    if via != router:
        shown += ", but the default route is %s" % (via or "missing")
    state = "fail" if echo is None else "ok" if via == router else "warn"
    return finding("router", state, shown, address=router, ping_ms=echo, default_route=via)


def check_names(site: Site) -> Dict[str, Any]:
    """Ask the resolver for one name."""
    name = site["internet"]
    began = time.monotonic()
    found = within(NAME_LIMIT_S, socket.gethostbyname, name)
    if found is None:
        return finding("names", "warn", "%s is not resolved: look at /etc/resolv.conf" % name, address=None)
    took = (time.monotonic() - began) * 1000
    return finding("names", "ok", "%s is %s, %s" % (name, found, milliseconds(took)), address=found)


def check_internet(site: Site) -> Dict[str, Any]:
    """Open one connection; a cluster works without the internet, so its absence is no failure."""
    took = within(2 * NAME_LIMIT_S, connect_ms, site["internet"], 443)
    state = "ok" if took is not None else "warn"
    return finding("internet", state, "%s:443  %s" % (site["internet"], milliseconds(took)), connect_ms=took)


def check_clock(site: Site) -> Dict[str, Any]:
    """Compare this clock with that of a node that answers over HTTP; half a second is as near as it gets."""
    said = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"]).strip()
    synchronized = {"yes": True, "no": False}.get(said)
    offset = None  # type: Optional[float]
    for server in site["clocks"]:
        date = http_date(server["server"])
        offset = clock_offset(date, time.time()) if date else None
        if offset is not None:
            break
    words = {True: "synchronized", False: "not synchronized: timedatectl status", None: "nobody says"}
    shown = words[synchronized]
    if offset is not None:
        shown += ", %s is %+.1f s" % (server["name"], offset)
    wrong = synchronized is False or (offset is not None and abs(offset) > CLOCK_LIMIT_S)
    state = "warn" if wrong else "ok"
    return finding("clock", state, shown, synchronized=synchronized, offset_s=offset)


def check(site: Site) -> List[Dict[str, Any]]:
    """Ask everything side by side; the findings are in a fixed order."""
    others = [node for node in site["nodes"] if node["name"] != site["node"]]
    asks = [(check_router, site)]  # type: List[Tuple[Callable[[Any], Dict[str, Any]], Any]]
    asks += [(check_node, node) for node in others]
    asks += [(check_names, site), (check_internet, site)] if site["internet"] else []
    asks += [(check_clock, site)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(lambda ask: ask[0](ask[1]), asks))


# ---------------------------------------------------------------- wake


def node_to_wake(site: Site, name: str) -> Mapping[str, Any]:
    """Return a node by its name; raise NetError when it cannot be woken."""
    nodes = site["nodes"]  # type: List[Dict[str, Any]]
    found = [node for node in nodes if node["name"].lower() == name.lower()]
    if not found:
        names = ", ".join(node["name"] for node in site["nodes"])
        raise NetError("there is no node %s; there are %s" % (name, names))
    if not found[0]["mac"]:
        raise NetError(
            "the MAC address of %s is not known: set node_mac in host_vars/%s/node.yml, then run site.yml"
            % (found[0]["name"], found[0]["host"])
        )
    return found[0]


def wake(site: Site, name: str, wait_s: float) -> Dict[str, Any]:
    """Send the magic packet to the site's network, and wait for ssh if asked to."""
    node = node_to_wake(site, name)
    broadcast = str(ipaddress.ip_network(site["network"]).broadcast_address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(3):  # a datagram may get lost
            sender.sendto(magic_packet(node["mac"]), (broadcast, DISCARD_PORT))
    answer = {"node": node["name"], "mac": mac_text(node["mac"]), "broadcast": broadcast, "answers": None}
    if wait_s:
        end = time.monotonic() + wait_s
        answer["answers"] = False
        while not answer["answers"] and time.monotonic() < end:
            answer["answers"] = connect_ms(node["address"], node["ssh_port"]) is not None
            if not answer["answers"]:
                time.sleep(1)
    return answer


# ---------------------------------------------------------------- scan


def stir(addresses: Iterable[str]) -> None:
    """Send each address a datagram to nowhere: the kernel then asks who has it (ARP), and notes it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for count, address in enumerate(addresses):
            try:
                sender.sendto(b"", (address, DISCARD_PORT))
            except OSError:
                pass  # a full queue: this address is asked in the second round
            if count % AT_ONCE == 0:
                time.sleep(0.02)


def settled_neighbours(network: str) -> Dict[str, Tuple[Optional[str], str]]:
    """Return the kernel's neighbours once it waits for none of them any more, or after a while."""
    end = time.monotonic() + NEIGHBOUR_LIMIT_S
    while True:
        found = neighbours(run(["ip", "-4", "neigh", "show"]), network)
        if time.monotonic() >= end or not any(state in UNSETTLED for _, state in found.values()):
            return found
        time.sleep(0.5)


def reverse_name(address: str) -> str:
    """Return the name of an address, or nothing."""
    return str(socket.gethostbyaddr(address)[0])


def scan(site: Site) -> List[Dict[str, Any]]:
    """Find the devices of the site's network, and no other; raise NetError where we are not in it."""
    network = site["network"]
    own = own_addresses(run(["ip", "-4", "-o", "addr", "show"]), network)
    if not own:
        raise NetError("this machine has no address in %s: a scan would leave the site" % network)
    asked = [address for address in targets(network) if address not in own]
    for _ in range(2):
        stir(asked)
        time.sleep(0.5)
    found = devices(site, settled_neighbours(network), own)
    unknown = [device for device in found if device["kind"] == "unknown"]
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=AT_ONCE)
    names = [(device, pool.submit(reverse_name, device["address"])) for device in unknown]
    end = time.monotonic() + NAME_LIMIT_S
    for device, name in names:
        try:
            device["name"] = name.result(timeout=max(0.0, end - time.monotonic()))
        except (concurrent.futures.TimeoutError, OSError):
            continue  # a device without a name is the ordinary case
    pool.shutdown(wait=False)
    return found


# ---------------------------------------------------------------- commands


def load(path: str) -> Dict[str, Any]:
    """Return the site; raise NetError when the toolkit has not written it yet."""
    try:
        with open(path) as handle:
            site = json.load(handle)  # type: Dict[str, Any]
    except OSError as error:
        raise NetError("%s; it is written by: ansible-playbook site.yml" % error) from None
    return site


def do_check(site: Site, options: argparse.Namespace) -> int:
    """`check`: a table, and each failure in a sentence on stderr."""
    found = check(site)
    if options.json:
        print(json.dumps({"node": site["node"], "findings": found}))
    else:
        print(table([[one["state"], one["what"], one["shown"]] for one in found]))
    failed = [one for one in found if one["state"] == "fail"]
    for one in failed:
        sys.stderr.write("%s does not answer: %s\n" % (one["what"], one["shown"]))
    return int(bool(failed))


def do_wake(site: Site, options: argparse.Namespace) -> int:
    """`wake`."""
    answer = wake(site, options.name, options.wait)
    if options.json:
        print(json.dumps(answer))
    else:
        told = {None: "sent", True: "it answers", False: "no answer within %d s" % options.wait}
        line = "%s (%s) by way of %s: %s"
        print(line % (answer["node"], answer["mac"], answer["broadcast"], told[answer["answers"]]))
    return int(answer["answers"] is False)


def do_scan(site: Site, options: argparse.Namespace) -> int:
    """`scan`: a table with what nobody knows at its end."""
    found = scan(site)
    strange = [device for device in found if device["kind"] in ("unknown", "impostor")]
    if options.json:
        print(json.dumps({"network": site["network"], "devices": found, "strange": len(strange)}))
    else:
        ordered = [device for device in found if device not in strange] + strange
        print(
            table(
                [
                    [device["kind"], device["address"], device["mac"] or "this machine"]
                    + [device["name"] or "-", device["note"]]
                    for device in ordered
                ]
            )
        )
        print("%d devices in %s, %d of them strange" % (len(found), site["network"], len(strange)))
    return int(bool(strange))


def main(arguments: Optional[Sequence[str]] = None, site_file: str = SITE_FILE) -> int:
    """Run one command; rc 2 when it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="aicluster-net", description="Reachability, wake-on-LAN and devices of the site's network."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    helps = {"check": "is everything reachable", "wake": "wake a node", "scan": "who is on the network"}
    parsers = {name: commands.add_parser(name, help=text) for name, text in helps.items()}
    for one in parsers.values():
        one.add_argument("--json", action="store_true", help="print JSON")
    parsers["wake"].add_argument("name", help="name of a node, such as AGX0")
    parsers["wake"].add_argument("--wait", type=float, default=0, help="seconds to wait until ssh answers")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("one of %s" % ", ".join(helps))
    try:
        return {"check": do_check, "wake": do_wake, "scan": do_scan}[options.command](
            load(site_file), options
        )
    except NetError as error:
        sys.stderr.write("aicluster-net: %s\n" % error)
        return 2


if __name__ == "__main__":
    sys.exit(main())

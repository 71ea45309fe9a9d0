#!/usr/bin/env python3
"""Tests the services of this node end to end, and reports what it saw.

On a node: `sudo /opt/aicluster/bin/aicluster_verify.py [service ...]`. For all nodes: playbooks/verify.yml.
Every service brings one file `checks/<service>.py` with a function `check(kit) -> evidence`, or `(evidence,
warning)` where the service is healthy but somebody should know. It raises CheckError when the service does
not do its work. Python 3.6 and its standard library are enough.
"""

import argparse
import concurrent.futures
import contextlib
import importlib.util
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import syslog
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

ROOT = "/opt/aicluster"
AT_ONCE = 6
CHECK_LIMIT_S = 90
# Of these, what a check may need after its longest answer: one more question, and to say what it saw.
LAST_WORDS_S = 12
STARTING_LIMIT_S = 30
# Longer than any unit of ours rests between two tries.
TRYING_LIMIT_S = 20
# States of a container that nobody stopped: one that ends again and again is mostly between two starts.
ACTIVE = ("running", "restarting", "paused")
OF_PROJECT = [
    "--filter", "label=com.docker.compose.project=aicluster",
    "--filter", "label=com.docker.compose.oneoff=False",
]  # fmt: skip
OF_SERVICE = ["docker", "ps", "--quiet", *OF_PROJECT, "--filter"]
PS = [
    "docker", "ps", "--all", "--no-trunc", *OF_PROJECT,
    "--format", '{{.Label "aicluster.service"}}\t{{.Names}}\t{{.State}}\t{{.Status}}\t{{.Mounts}}',
]  # fmt: skip
VOLUMES = ["docker", "volume", "ls", "--format", "{{.Name}}\t{{.Mountpoint}}"]
# What brings containers up at boot; the second also those that Docker takes for stopped by hand.
BOOT_UNITS = ("docker", "aicluster-stack")
# X509_V_FLAG_PARTIAL_CHAIN: also what no CA vouches for is trusted if it is in the file of those trusted.
PARTIAL_CHAIN = 0x80000
DAY_S, SOON_DAYS = 86400, 20
# What a client of PostgreSQL asks before it speaks TLS: a message's length, and SSLRequest.
STARTTLS = {"postgres": struct.pack("!ii", 8, 80877103)}
# A check that goes must go whole: nothing of it may lie in a folder of compiled ones.
sys.dont_write_bytecode = True
T = TypeVar("T")
Body = Union[bytes, str, Dict[str, Any], List[Any], None]
# What a check saw; of two texts the second is a warning.
Seen = Union[str, Tuple[str, str]]


class CheckError(Exception):
    """A service does not do its work: the evidence, and the command that tells more."""

    def __init__(self, evidence: str, next_command: str = "", caused_by: Sequence[str] = ()) -> None:
        """Texts of one or a few lines.

        `next_command` is typed on this node, or as `on NODE: command` on another; what begins with
        `ansible-playbook` where the inventory is. `caused_by`: each `service on NODE` that may be the cause.
        """
        super().__init__(evidence)
        self.evidence, self.next_command, self.caused_by = evidence, next_command, list(caused_by)


@contextlib.contextmanager
def possible_causes(causes: Sequence[str]) -> Iterator[None]:
    """Name these as possible causes of what fails in here, too; each is a `service on NODE`."""
    try:
        yield
    except CheckError as failure:
        failure.caused_by += causes
        raise


class Answer:
    """What an HTTP server answered."""

    def __init__(self, status: int, headers: Message, body: bytes) -> None:
        """`headers` are looked up without regard to case."""
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON; raises CheckError when it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            raise CheckError("answered %d with no JSON: %s" % (self.status, self.text[:200])) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        """A redirect is an answer like any other."""


def certificate_days(
    where: Tuple[str, int], name: str, trusted: str, starttls: str = "", ask: Tuple[bytes, bytes] = (b"", b"")
) -> int:
    """Return the days left of a certificate that is valid for a name; raise OSError if it is not.

    `starttls`: the protocol that changes to TLS. `ask`: what is sent then, and what must be in the answer.
    """
    context, said = ssl.create_default_context(cafile=trusted), b""
    context.verify_flags |= PARTIAL_CHAIN
    try:
        with socket.create_connection(where, timeout=10) as plain:
            if starttls:
                plain.sendall(STARTTLS[starttls])
                if plain.recv(1) != b"S":
                    raise OSError("it does not speak TLS")
            with context.wrap_socket(plain, server_hostname=name) as tls:
                ends = ssl.cert_time_to_seconds(str((tls.getpeercert() or {})["notAfter"]))
                if ask[0]:
                    tls.sendall(ask[0])
                    said = tls.recv(100)
    except ssl.CertificateError as error:  # of Python 3.6 it is no OSError
        raise OSError(str(error)) from None
    if ask[1] not in said:
        raise OSError("answered %r" % said)
    return int((ends - time.time()) // DAY_S)


def lasting(seen: Seen, days: int) -> Seen:
    """Return what a check saw, with how long a certificate is valid; a warning if that is short."""
    evidence, warning = (seen, "") if isinstance(seen, str) else seen
    evidence = "%s; its certificate is valid for %d days" % (evidence, days)
    soon = "the certificate ends in %d days" % days if days < SOON_DAYS else ""
    warning = "; ".join(filter(None, [warning, soon]))
    return (evidence, warning) if warning else evidence


class Kit:
    """What a check may use. `site` is the content of /opt/aicluster/verify.json."""

    def __init__(self, site: Mapping[str, Any], run_id: str, together: Sequence[str] = ()) -> None:
        """`run_id` is the text that is unique to one run of verify, `together` the nodes it asks at once."""
        self.node = site["node"]  # type: str
        self.run_id = run_id
        self.together = list(together) or [self.node]
        # MiB that must be free where a service keeps data.
        self.disk_floor_mb = site.get("disk_floor_mb", 0)  # type: int
        self.services = site["services"]  # type: Dict[str, Dict[str, Any]]
        self.cluster = site["cluster"]  # type: List[Dict[str, Any]]
        self.end = time.monotonic() + CHECK_LIMIT_S
        # Of those who vouch for a certificate, only the site's own CA.
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if os.path.isfile(ROOT + "/ca.crt"):
            trusting.load_verify_locations(ROOT + "/ca.crt")
        https = urllib.request.HTTPSHandler(context=trusting)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect, https)

    def left(self) -> float:
        """Return how many seconds a check may wait for a slow answer, as of a model that is loaded first."""
        return max(1.0, self.end - LAST_WORDS_S - time.monotonic())

    def url(self, service: str, port: str, path: str = "/") -> str:
        """URL of a port that a service of this node publishes."""
        here = self.services[service]["ports"][port]
        if not here["published"]:
            raise CheckError("port %s of %s is not published" % (port, service))
        scheme = "https" if here.get("tls") else "http"
        return "%s://%s:%d%s" % (scheme, here["published"], here["port"], path)

    def certificate(self, service: str, port: str, seen: Seen, starttls: str = "") -> Seen:
        """Return what a check saw, with how long the certificate of a published port is valid.

        Raises CheckError unless the site's CA issued it, for this address. `starttls`: as `certificate_days`.
        """
        here = self.services[service]["ports"][port]
        if not here["published"]:
            return seen
        where = (here["published"], here["port"])  # type: Tuple[str, int]
        try:
            return lasting(seen, certificate_days(where, where[0], ROOT + "/ca.crt", starttls))
        except OSError as error:
            look = "openssl s_client%s -connect %s:%d </dev/null | openssl x509 -noout -text"
            way = " -starttls " + starttls if starttls else ""
            raise CheckError("TLS on %s:%d: %s" % (*where, error), look % (way, *where)) from None

    def endpoints(self, service: str, port: str) -> List[Tuple[str, str]]:
        """Return (node name, address:port) of every node of the cluster that runs a service."""
        return [
            (node["name"], "%s:%d" % (node["address"], node["services"][service]["ports"][port]))
            for node in self.cluster
            if service in node["services"]
        ]

    def hosts(self, service: str) -> List[str]:
        """Return `service on NODE` of every node that runs it, for `caused_by`; this node's own first."""
        names = [node["name"] for node in self.cluster if service in node["services"]]
        return ["%s on %s" % (service, name) for name in sorted(names, key=lambda name: name != self.node)]

    def http(
        self,
        url: str,
        method: str = "GET",
        data: Body = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = 10,
    ) -> Answer:
        """Ask; any status is an answer, redirects are not followed. A dict or list is sent as JSON."""
        sent = dict(headers or {})
        if isinstance(data, (dict, list)):
            sent.setdefault("Content-Type", "application/json")
            data = json.dumps(data)
        body = data.encode() if isinstance(data, str) else data
        request = urllib.request.Request(url, data=body, headers=sent, method=method)
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise CheckError("%s %s: %s" % (method, url, reason), "curl -v '%s'" % url) from None

    def expect(self, url: str, status: int = 200, method: str = "GET", **more: Any) -> Answer:
        """Ask as `http` does, and raise CheckError unless the answer has this status."""
        answer = self.http(url, method, **more)
        if answer.status != status:
            raise CheckError(
                "%s %s: answered %d instead of %d: %s"
                % (method, url, answer.status, status, answer.text.strip()[:300]),
                "curl -v '%s'" % url,
            )
        return answer

    def run(self, argv: Sequence[str], stdin: Optional[str] = None, timeout: float = 60) -> str:
        """Return stdout of a command on the node; raise CheckError with stderr when it fails."""
        try:
            done = subprocess.run(
                list(argv),
                input=None if stdin is None else stdin.encode(),
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CheckError("%s: %s" % (argv[0], error)) from None
        if done.returncode:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            raise CheckError("`%s` failed (rc %d): %s" % (" ".join(argv)[:200], done.returncode, said[-300:]))
        return done.stdout.decode("utf-8", "replace")

    def container(self, service: str) -> str:
        """Return the id of the running container of a service; raise CheckError where there is none."""
        found = self.run([*OF_SERVICE, "label=com.docker.compose.service=" + service]).split()
        if not found:
            raise CheckError("%s has no running container" % service)
        return found[0]

    def execute(self, service: str, argv: Sequence[str], stdin: Optional[str] = None) -> str:
        """Return stdout of a command inside a service's container; raise CheckError when it fails."""
        # `docker compose exec` takes four times the processor's time.
        return self.run(["docker", "exec", "--interactive", self.container(service), *argv], stdin)

    def secret(self, service: str, name: str) -> str:
        """Text of a secret file of a service, without the line's end."""
        with open("%s/%s/secrets/%s" % (ROOT, service, name)) as handle:
            return handle.read().rstrip("\n")

    def wait(self, seconds: float, ask: Callable[[], T], what: str) -> T:
        """Return the first answer of `ask` that is true, asked once a second; else raise CheckError(what)."""
        end = time.monotonic() + seconds
        while True:
            answer = ask()
            if answer:
                return answer
            if time.monotonic() >= end:
                raise CheckError("%s (waited %g s)" % (what, seconds))
            time.sleep(1)


Found = Dict[str, List[Dict[str, Any]]]


def containers(listing: str, folders: Mapping[str, str]) -> Found:
    """Return service -> its containers {name, state, status, folders: where its volumes lie on the node}.

    `listing` is what PS prints, `folders` volume -> folder.
    """
    found = {}  # type: Found
    for line in listing.splitlines():
        service, name, state, status, mounts = line.split("\t")
        own = [folders[mount] for mount in mounts.split(",") if mount in folders]
        found.setdefault(service, []).append({"name": name, "state": state, "status": status, "folders": own})
    return found


def settled(kit: Kit) -> Found:
    """Return the containers of the node once none of them is still starting, or after a while."""
    end = time.monotonic() + STARTING_LIMIT_S
    folders = dict(line.split("\t", 1) for line in kit.run(VOLUMES).splitlines())
    while True:
        listing = kit.run(PS)
        if "(health: starting)" not in listing or time.monotonic() >= end:
            return containers(listing, folders)
        time.sleep(1)


def require_healthy(found: Sequence[Mapping[str, Any]]) -> None:
    """Raise CheckError unless a service has containers that all run and are healthy; its log tells more."""
    if not found:
        raise CheckError("has no container", "ansible-playbook site.yml")
    for container in found:
        if container["state"] != "running" or "(healthy)" not in container["status"]:
            raise CheckError("container %s: %s" % (container["name"], container["status"] or "not started"))


def require_inactive(found: Sequence[Mapping[str, Any]]) -> None:
    """Raise CheckError when a service of another profile has a container nobody stopped: it takes memory."""
    for container in found:
        if container["state"] in ACTIVE:
            raise CheckError(
                "container %s: %s, but its profile is not active" % (container["name"], container["status"]),
                "sudo %s/bin/aicluster_profile.py settle" % ROOT,
            )


def require_room(found: Sequence[Mapping[str, Any]], floor_mb: int) -> None:
    """Raise CheckError where a service has hardly any room for its data: soon a write would fail."""
    for folder in [folder for container in found for folder in container["folders"]]:
        disk = os.statvfs(folder)
        free_mb = disk.f_bavail * disk.f_frsize >> 20
        if free_mb < floor_mb:
            raise CheckError(
                "the disk of %s has %d MiB free; must be %d (stack_disk_floor_mb)"
                % (folder, free_mb, floor_mb),
                "sudo sh -c 'df -h %s; du -xh --max-depth=2 %s | sort -h | tail'" % (folder, folder),
            )


def require_active(kit: Kit, unit: str) -> None:
    """Raise CheckError unless a systemd unit is active; one that is tried again gets the time for it."""
    end = time.monotonic() + TRYING_LIMIT_S
    while True:
        state = kit.run(["systemctl", "show", "--property", "ActiveState", unit]).strip().partition("=")[2]
        if state == "active":
            return
        if state != "activating" or time.monotonic() >= end:
            break
        time.sleep(1)
    # What its processes wrote, without systemd's own lines.
    journal = ["journalctl", "_SYSTEMD_UNIT=" + unit, "--lines", "1", "--output", "cat", "--no-pager"]
    said = kit.run(journal).strip()
    raise CheckError(
        "unit %s is %s%s" % (unit, state, said and ": " + said[-300:]), "systemctl status " + unit
    )


def no_comeback(kit: Kit) -> str:
    """Return why containers would not come back after a reboot, an empty text where they would."""
    try:
        shown = kit.run(["systemctl", "show", "--property", "UnitFileState", *BOOT_UNITS])
    except CheckError as failure:
        return failure.evidence
    states = [line.partition("=")[2] for line in shown.splitlines() if line]
    off = [pair for pair in zip(BOOT_UNITS, states) if pair[1] != "enabled"]
    return ", ".join("unit %s is %s" % (unit, state or "missing") for unit, state in off)


def load(kind: str, service: str, folder: str) -> Any:
    """Return the function `check` or `rest` (`kind`) of a service's file."""
    path = "%s/%s.py" % (folder, service)
    spec = importlib.util.spec_from_file_location("aicluster_%s_%s" % (kind, service), path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise CheckError("%s is missing" % path, "ansible-playbook site.yml")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, kind)


def told(seen: Seen) -> Dict[str, str]:
    """Return what a check saw as the keys of a result: evidence, and warning if there is one."""
    return {"evidence": seen} if isinstance(seen, str) else {"evidence": seen[0], "warning": seen[1]}


def result_of(service: str, state: str, evidence: str = "", seconds: float = 0) -> Dict[str, Any]:
    """Return the result of a service, as `verdict` completes it."""
    result = {"service": service, "state": state, "evidence": evidence}
    return dict(result, next="", caused_by=[], seconds=seconds)


def verdict(service: str, kit: Kit, found: Union[Found, CheckError], profile: str) -> Dict[str, Any]:
    """Return {service, state, evidence, next, caused_by, seconds} of one service, and warning if it has one.

    `state` is healthy, inactive or failed.
    """
    entry, began, result = kit.services[service], time.monotonic(), result_of(service, "healthy")
    try:
        if entry["container"] and isinstance(found, CheckError):
            raise found
        own = [] if isinstance(found, CheckError) else found.get(service, [])
        if entry["profiles"] and profile not in entry["profiles"]:
            require_inactive(own)
            seen = "runs in profile %s; active is %s" % (", ".join(entry["profiles"]), profile)
            result.update(state="inactive", evidence=seen)
        else:
            if entry["container"]:
                # A full disk first: it is why a container is not healthy, or soon will not be.
                require_room(own, kit.disk_floor_mb)
                require_healthy(own)
            elif entry["unit"]:
                require_active(kit, entry["unit"])
            result.update(told(load("check", service, ROOT + "/checks")(kit)))
    except CheckError as failure:
        result.update(
            state="failed", evidence=failure.evidence, next=failure.next_command, caused_by=failure.caused_by
        )
    except Exception as error:  # whatever a check stumbles over is an answer of its service
        result.update(state="failed", evidence="%s: %s" % (type(error).__name__, error))
    if result["state"] == "failed" and not result["next"]:
        unit = "docker compose --project-directory %s logs --tail 50 %s" % (ROOT, service)
        result["next"] = "sudo " + unit if entry["container"] else "systemctl --failed"
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def active_profile(path: str = ROOT + "/.env") -> str:
    """Return the active profile, which compose starts; "" on a node without profiles."""
    try:
        with open(path) as handle:
            lines = dict(line.strip().split("=", 1) for line in handle if "=" in line)
    except OSError:
        return ""
    return lines.get("COMPOSE_PROFILES", "")


def verdicts(kit: Kit, wanted: Sequence[str]) -> List[Dict[str, Any]]:
    """Ask the wanted services side by side; one whose check does not end has failed."""
    try:
        found = settled(kit)  # type: Union[Found, CheckError]
    except CheckError as failure:
        found = CheckError("Docker Engine does not answer: " + failure.evidence, "systemctl status docker")
    profile, lost = active_profile(), no_comeback(kit)
    kit.end = time.monotonic() + CHECK_LIMIT_S
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=AT_ONCE)
    futures = [(service, pool.submit(verdict, service, kit, found, profile)) for service in wanted]
    results = []
    for service, future in futures:
        try:
            results.append(future.result(timeout=max(0.0, kit.end - time.monotonic())))
        except concurrent.futures.TimeoutError:
            seen = "gave no answer within %d s" % CHECK_LIMIT_S
            results.append(result_of(service, "failed", seen, CHECK_LIMIT_S))
        if lost and kit.services[service]["container"] and results[-1]["state"] == "healthy":
            said = "runs now, but may not come back after a reboot: %s" % lost
            results[-1]["warning"] = "; ".join(filter(None, [results[-1].get("warning"), said]))
            results[-1]["next"] = "ansible-playbook site.yml"
    return results


def journal_line(run_id: str, node: str) -> str:
    """Return what a node writes to its journal when it is asked."""
    return "aicluster verify %s %s" % (run_id, node)


def report(node: str, results: Sequence[Mapping[str, Any]]) -> str:
    """Return the results for people, one line a service."""
    lines = []
    for result in results:
        lines.append("%-6s %-8s %-18s %s" % (node, result["state"], result["service"], result["evidence"]))
        if result.get("warning"):
            lines.append("%36swarning: %s" % ("", result["warning"]))
        if result["next"]:
            lines.append("%36snext: %s" % ("", result["next"]))
    return "\n".join(lines)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Verify this node; returns 1 when a service has failed."""
    with open(ROOT + "/verify.json") as handle:
        site = json.load(handle)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "services", nargs="*", metavar="service", help="one of " + ", ".join(site["services"])
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--run-id", default="by-hand-%d" % time.time(), help="unique text of this run")
    parser.add_argument(
        "--together", default="", metavar="NODE,NODE", help="the nodes that are asked in this run"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.services) - set(site["services"]))
    if unknown:
        parser.error(
            "%s runs no %s; it runs %s" % (site["node"], ", ".join(unknown), ", ".join(site["services"]))
        )
    # The log store's check looks for this line of every node.
    syslog.syslog(syslog.LOG_NOTICE, journal_line(options.run_id, site["node"]))
    kit = Kit(site, options.run_id, [name for name in options.together.split(",") if name])
    results = verdicts(kit, options.services or list(site["services"]))
    print(json.dumps(results) if options.json else report(site["node"], results))
    return int(any(result["state"] == "failed" for result in results))


if __name__ == "__main__":
    # The checks import this file by its name: they and this program must mean the same `CheckError`.
    from aicluster_verify import main as run

    status = run()
    sys.stdout.flush()
    os._exit(status)  # a check that hangs holds a thread, and a thread would hold a normal exit

#!/usr/bin/env python3
"""Switches this node between sets of services that do not fit into its memory together.

`sudo /opt/aicluster/bin/aicluster_profile.py [PROFILE | settle | --stop, --restart or --wait SERVICE...]`;
without an argument it lists the profiles. In order: send the callers elsewhere, let running work end, unload
what holds memory, stop, start, wait until healthy. A switch that fails is undone. From the controller:
playbooks/profile.yml, playbooks/restart.yml. With `--wake`, for a request at the gateway, work that does not
end refuses the switch. Python 3.6 is enough.
"""

import argparse
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from aicluster_verify import ACTIVE, CHECK_LIMIT_S, ROOT, CheckError, Kit, active_profile, load

# For running work to end before its service is stopped.
DRAIN_S = 60
# For making the containers, so that in the end it is Docker that says which of them is unhealthy.
SLACK_S = 60
LOCK = "/run/aicluster-profile.lock"
# The record of the run that changes this node (module_utils/aicluster_node/hold.py); a silent one is over.
HOLD, SILENT_S = "/run/aicluster.lock", 24 * 60 * 60
# Of .env: nobody asked for this profile but a request, so the node leaves it when it is idle.
WOKEN = "# woken by a request\n"
COMPOSE = ["docker", "compose", "--ansi", "never", "--project-directory", ROOT]
# Between the engine's own rules and the container, where the port is still known by its published number.
CHAIN = "DOCKER-USER"
RULE = (
    "-p tcp -m conntrack --ctstate NEW --ctorigdstport {port} --ctdir ORIGINAL "
    "-m comment --comment aicluster-profile -j REJECT --reject-with tcp-reset"
)


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def profiles_of(site: Mapping[str, Dict[str, Dict[str, List[str]]]]) -> Dict[str, List[str]]:
    """Return profile -> its services, from /opt/aicluster/verify.json."""
    profiles = {}  # type: Dict[str, List[str]]
    for service, entry in site["services"].items():
        for profile in entry["profiles"]:
            profiles.setdefault(profile, []).append(service)
    return profiles


def is_woken(path: str = ROOT + "/.env") -> bool:
    """Tell whether it was a request that switched to the active profile."""
    try:
        with open(path) as handle:
            return WOKEN in handle
    except OSError:
        return False


def set_profile(profile: str, woken: bool = False, path: str = ROOT + "/.env") -> None:
    """Write the profile that compose starts, in one step; owner and mode are those the engine wants."""
    temporary = path + ".aicluster-new"
    with open(temporary, "w") as handle:
        handle.write("COMPOSE_PROFILES=%s\n%s" % (profile, WOKEN if woken else ""))
        os.fchmod(handle.fileno(), 0o644)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(temporary, path)


def compose_services(kit: Kit, profile: str) -> List[str]:
    """Return the compose services of a profile, the permanent ones included."""
    return kit.run(["env", "COMPOSE_PROFILES=" + profile, *COMPOSE, "config", "--services"]).split()


def ports_of(kit: Kit, services: Iterable[str]) -> List[int]:
    """Return the ports of these services that callers on other machines reach."""
    return [
        port["port"]
        for service in services
        for port in kit.services[service]["ports"].values()
        if port["published"] and port["published"] != "127.0.0.1"
    ]


def turn_away(kit: Kit, ports: Sequence[int], turn: bool) -> None:
    """Refuse new connections to published ports (or stop doing so): callers with a choice go elsewhere."""
    for port in ports:
        rule = RULE.format(port=port).split()
        with contextlib.suppress(CheckError):  # a rule that is not there need not go
            kit.run(["iptables", "-w", "-D", CHAIN, *rule])
        if turn:
            kit.run(["iptables", "-w", "-I", CHAIN, *rule])


def at_work(kit: Kit, services: Sequence[str]) -> int:
    """Return how many clients are connected to published ports of these services."""
    found = 0
    for service in services:
        ports = [port["container"] for port in kit.services[service]["ports"].values() if port["published"]]
        listed = kit.run(["docker", "ps", "--quiet", "--filter", "label=aicluster.service=" + service])
        for container in listed.split():
            pid = kit.run(["docker", "inspect", "--format", "{{.State.Pid}}", container]).strip()
            for port in ports if pid != "0" else ():  # one that crashes is mostly between two starts
                sockets = ["ss", "-Htn", "state", "established", "sport", "=", ":%d" % port]
                found += len(kit.run(["nsenter", "--net", "--target", pid, *sockets]).splitlines())
    return found


def work(kit: Kit, services: Sequence[str]) -> str:
    """Return the work of services that no connection shows, as their files busy/<service>.py tell it."""
    for service in services:
        if os.path.isfile("%s/busy/%s.py" % (ROOT, service)):
            said = load("busy", service, ROOT + "/busy")(kit)  # type: str
            if said:
                return "%s: %s" % (service, said)
    return ""


def require_no_work(kit: Kit, services: Sequence[str]) -> None:
    """Raise CheckError while services have work that no connection shows."""
    said = work(kit, services)
    if said:
        raise CheckError(said)


def drain(kit: Kit, services: Sequence[str], gently: bool = False, within_s: Optional[float] = None) -> None:
    """Wait until running work has ended, for a minute at most unless told otherwise.

    `gently`: raise CheckError if it has not.
    """
    began, named = time.monotonic(), ", ".join(services)
    try:
        kit.wait(
            DRAIN_S if within_s is None else within_s, lambda: not at_work(kit, services), "still at work"
        )
        say("  drained %s (%.0f s)" % (named, time.monotonic() - began))
    except CheckError as failure:
        if gently:
            raise CheckError("%s: %s" % (named, failure.evidence)) from None
        say("  %s: %s, requests: %d; going on" % (named, failure.evidence, at_work(kit, services)))


def rest(kit: Kit, service: str) -> None:
    """Let a service free what it holds before it is stopped, if it brings a file rest/<service>.py."""
    if not os.path.isfile("%s/rest/%s.py" % (ROOT, service)):
        return
    try:
        say("  %s: %s" % (service, load("rest", service, ROOT + "/rest")(kit)))
    except CheckError as failure:  # it is stopped next, which frees everything
        say("  %s did not free its memory: %s" % (service, failure.evidence))


@contextlib.contextmanager
def at_rest(kit: Kit, services: Sequence[str], gently: bool = False) -> Iterator[None]:
    """Send callers of services elsewhere, let running work end and unload; callers come back in the end.

    `gently`: work that does not end is not given up, but raises CheckError.
    """
    ports = ports_of(kit, services)
    if gently:
        require_no_work(kit, services)
    try:
        turn_away(kit, ports, turn=True)
        drain(kit, services, gently)
        if gently:  # some may have come before the callers were turned away
            require_no_work(kit, services)
        for service in services:
            rest(kit, service)
        yield
    finally:
        turn_away(kit, ports, turn=False)


def stop(kit: Kit, services: Sequence[str]) -> None:
    """Stop services without losing a request."""
    with at_rest(kit, services):
        kit.run([*COMPOSE, "stop", *services], timeout=300)


def start(kit: Kit, services: Sequence[str]) -> None:
    """Start the services of a profile and wait until they are healthy; raises CheckError.

    What always runs is not waited for: it does not depend on the profile.
    """
    contained = [service for service in services if kit.services[service]["container"]]
    if not contained:
        return
    limit_s = max(kit.services[service]["health_limit_s"] for service in contained) + SLACK_S
    up = ["up", "--detach", "--wait", "--wait-timeout", str(limit_s), *contained]
    kit.run([*COMPOSE, *up], timeout=limit_s + 60)
    say("  started %s" % ", ".join(contained))


def set_up(kit: Kit, services: Sequence[str]) -> None:
    """Provision services as a run does after a switch: this may be their first start."""
    for service in services:
        if os.path.isfile("%s/%s/bin/provision" % (ROOT, service)):
            said = kit.execute(service, ["/opt/aicluster/bin/provision"]).strip()
            if said:
                say("  %s: %s" % (service, said))


def restart(kit: Kit, services: Sequence[str]) -> None:
    """Restart services without losing a request; callers come back once each passes its check.

    Raises CheckError for one that does not.
    """
    if not services:
        return
    with at_rest(kit, services):
        kit.run([*COMPOSE, "restart", *services], timeout=300)
        start(kit, services)
        for service in services:
            kit.end = time.monotonic() + CHECK_LIMIT_S
            seen = load("check", service, ROOT + "/checks")(kit)
            say("  restarted %s: %s" % (service, seen if isinstance(seen, str) else "; ".join(seen)))


def not_stopped(kit: Kit) -> List[str]:
    """Return the services with a container that nobody stopped."""
    active = [word for state in ACTIVE for word in ("--status", state)]
    return kit.run([*COMPOSE, "--profile", "*", "ps", "--services", *active]).split()


def settle(kit: Kit, profile: str) -> List[str]:
    """Stop containers that do not belong to the profile; return their names."""
    unexpected = sorted(set(not_stopped(kit)) - set(compose_services(kit, profile)))
    if unexpected:
        kit.run([*COMPOSE, "--profile", "*", "stop", *unexpected], timeout=300)
        say("  stopped %s" % ", ".join(unexpected))
    return unexpected


def stay(kit: Kit, profiles: Mapping[str, Sequence[str]], present: str, asked: bool, wake: bool) -> None:
    """Mend what a killed switch left: ports that are closed, what runs, and if `asked` what does not run."""
    sometimes = {one for services in profiles.values() for one in services}
    turn_away(kit, ports_of(kit, sometimes), turn=False)
    settle(kit, present)
    if asked:
        # What runs and is not healthy is mended by a run; a request waits for it here.
        running = [] if wake else not_stopped(kit)
        start(kit, [service for service in profiles[present] if service not in running])
    if wake:
        set_up(kit, profiles[present])


def go_back(kit: Kit, profile: str, services: Sequence[str], woken: bool) -> str:
    """Return to the profile of these services; say whether that worked."""
    set_profile(profile, woken)
    try:
        settle(kit, profile)
        start(kit, services)
    except CheckError as failure:
        return "%s did not come up again either: %s" % (profile or "none", failure.evidence)
    return "profile %s is active again" % (profile or "none")


def switch(kit: Kit, profiles: Mapping[str, Sequence[str]], wanted: str, wake: bool = False) -> None:
    """Switch to another profile; when it does not come up, go back and raise CheckError.

    `wake`: for a request; raise CheckError rather than give up work that does not end.
    """
    present, woken = active_profile(), is_woken()
    leaving = [service for service in profiles.get(present, ()) if service not in profiles[wanted]]
    began = time.monotonic()
    say("%s: %s -> %s" % (kit.node, present or "none", wanted))
    with at_rest(kit, leaving, gently=wake):
        set_profile(wanted, wake)
        try:
            settle(kit, wanted)
            start(kit, profiles[wanted])
            if wake:
                set_up(kit, profiles[wanted])
        except CheckError as failure:
            say("  %s does not come up; back to %s" % (wanted, present or "none"))
            back = go_back(kit, present, profiles.get(present, ()), woken)
            raise CheckError("%s did not come up: %s; %s" % (wanted, failure.evidence, back)) from None
    say("  profile %s active after %.0f s" % (wanted, time.monotonic() - began))


@contextlib.contextmanager
def alone(path: str = LOCK) -> Iterator[None]:
    """Hold the node's lock; raises CheckError when another switch is under way."""
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CheckError("another switch of this node is in progress") from None
        yield


def require_no_run(path: str = HOLD) -> None:
    """Raise CheckError while a run from the controller changes this node."""
    try:
        with open(path) as handle:
            record = json.load(handle)
    except (OSError, ValueError):
        return
    if record and 0 <= time.monotonic() - record.get("seen", 0) < SILENT_S:
        raise CheckError("%s changes this node (%s)" % (record.get("who"), record.get("play")))


def overview(profiles: Mapping[str, Sequence[str]], present: str) -> str:
    """Return one line per profile, the active one marked."""
    return "\n".join(
        "%s %-10s %s" % ("*" if profile == present else " ", profile, ", ".join(services))
        for profile, services in profiles.items()
    )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Switch, settle or show; returns 1 when that failed."""
    with open(ROOT + "/verify.json") as handle:
        site = json.load(handle)
    profiles = profiles_of(site)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("profile", nargs="?", help="one of %s; or settle" % (", ".join(profiles) or "none"))
    parser.add_argument("--stop", nargs="+", metavar="SERVICE", help="stop these, without losing a request")
    parser.add_argument("--wake", action="store_true", help="for a request: running work refuses the switch")
    parser.add_argument(
        "--restart", nargs="+", metavar="SERVICE", help="those that run, without losing a request"
    )
    parser.add_argument("--wait", nargs="+", metavar="SERVICE", help="for the end of their running requests")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="for how long at most (%d)" % DRAIN_S)
    options = parser.parse_args(arguments)
    present = active_profile()
    if not (options.profile or options.stop or options.restart or options.wait):
        print(overview(profiles, present) or "%s has no profiles" % site["node"])
        return 0
    if options.profile and options.profile not in [*profiles, "settle"]:
        parser.error(
            "%s has no profile %s; it has %s" % (site["node"], options.profile, ", ".join(profiles) or "none")
        )
    kit = Kit(site, "profile")
    for ending in (signal.SIGHUP, signal.SIGTERM):
        # The ports are open again on the way out, see `switch`.
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    try:
        with alone():
            if options.wake:
                require_no_run()
            if options.stop:
                stop(kit, options.stop)
            elif options.wait:
                drain(kit, options.wait, within_s=options.within)
            elif options.restart:
                active = compose_services(kit, present)
                for service in set(options.restart).difference(active):
                    say("  %s: runs in another profile" % service)
                restart(kit, [service for service in options.restart if service in active])
            elif options.profile in ("settle", present):
                stay(kit, profiles, present, options.profile == present, options.wake)
                if options.profile == present and not options.wake:  # whoever asks for it keeps it
                    set_profile(present)
            else:
                switch(kit, profiles, options.profile, options.wake)
    except (CheckError, subprocess.SubprocessError) as error:
        print("%s: %s" % (site["node"], error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

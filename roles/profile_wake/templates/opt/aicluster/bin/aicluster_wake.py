#!/usr/bin/env python3
"""Switches this node to the profile that a request at the gateway needs, and back when nobody uses it.

The gateway's nginx asks for `/<profile>` and waits. Once the profile is active, nginx is sent to Kong again.
If that takes long, its client is told to come back. The switch is that of aicluster_profile.py, in a process
of its own: it goes on when nobody waits for it, and while this service is restarted. Python 3.6 is enough.
"""

import argparse
import concurrent.futures
import hmac
import http.server
import json
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from aicluster_profile import at_work, is_woken, profiles_of, work
from aicluster_verify import ROOT, CheckError, Kit, active_profile

# After a switch that failed: each try turns callers of the present services away.
PAUSE_S = 60
LOOK_S = 30
AGAIN = "Try again in half a minute."


def site() -> Dict[str, Any]:
    """Return what this node knows of itself."""
    with open(ROOT + "/verify.json") as handle:
        return dict(json.load(handle))


def switched(profile: str) -> str:
    """Switch, or wait until the services of the active profile are healthy; return why that failed, or ""."""
    # A file, not a pipe: the switch writes on when this service has gone.
    with tempfile.TemporaryFile() as said:
        program = [sys.executable, ROOT + "/bin/aicluster_profile.py", "--wake", profile]
        if not subprocess.call(program, stdin=subprocess.DEVNULL, stderr=said):
            return ""
        said.seek(0)
        return said.read().decode("utf-8", "replace").strip()[-300:] or "see journalctl -u aicluster-wake"


class Switches:
    """One switch at a time; whoever wants the same profile waits for the same switch."""

    def __init__(self, switch: Callable[[str], str], settle_s: float = 0) -> None:
        """`switch` returns why it failed, or ""; `settle_s`: until the gateway knows of a good one."""
        self._switch, self._settle_s = switch, settle_s
        self._lock, self._pool = threading.Lock(), concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._profile, self._ended = "", 0.0
        self._result = None  # type: Optional[concurrent.futures.Future[str]]

    def _run(self, profile: str) -> str:
        try:
            failure = self._switch(profile)
        except OSError as error:
            failure = str(error)
        if not failure:
            time.sleep(self._settle_s)
        self._ended = time.monotonic()
        return failure

    def to(self, profile: str, hold_s: float) -> Optional[str]:
        """Return "" once the profile is active, why it is not, or None if that takes longer than `hold_s`."""
        with self._lock:
            result = self._result
            under_way = result is not None and not result.done()
            if under_way and profile != self._profile:
                return "a switch to %s is in progress" % self._profile
            failed = result is not None and not under_way and bool(result.result())
            lately = profile == self._profile and time.monotonic() - self._ended < PAUSE_S
            if result is None or not under_way and not (failed and lately):
                self._profile = profile
                result = self._result = self._pool.submit(self._run, profile)
        try:
            return result.result(hold_s)
        except concurrent.futures.TimeoutError:
            return None


def resting(home: str) -> bool:
    """Tell whether a request woke the active profile, and nobody uses its services at present."""
    present = active_profile()
    if present == home or not is_woken():
        return False
    known = site()
    profiles = profiles_of(known)
    services = [one for one in profiles.get(present, ()) if one not in profiles.get(home, ())]
    kit = Kit(known, "wake")
    try:
        if at_work(kit, services):
            # A probe of the gateway is a connection, too, but none that lasts.
            time.sleep(1)
            if at_work(kit, services):
                return False
        return not work(kit, services)
    except CheckError as failure:
        print("not known whether %s is used: %s" % (present, failure), flush=True)
        return False


def go_home(switches: Switches, home: str, idle_s: float) -> None:
    """Return to the node's own profile whenever a woken one was not used for `idle_s` seconds."""
    used = time.monotonic()
    while True:
        time.sleep(LOOK_S)
        idle, now = resting(home), time.monotonic()
        if idle and now - used >= idle_s:
            switches.to(home, 0)
            idle = False  # a refused try waits as long
        if not idle:
            used = now


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread per request, because requests wait."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, address: Tuple[str, int], switches: Switches, token: str, hold_s: float) -> None:
        """`hold_s`: how long a request waits for a switch."""
        self.switches, self.token, self.hold_s = switches, token, hold_s
        super().__init__(address, Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    """`GET /` tells the active profile, `GET /<profile>` switches to it."""

    server: Server
    timeout = 10

    def do_GET(self) -> None:
        """Answer as nginx or its client needs it."""
        shown, profile = self.headers.get("Authorization", ""), self.path.strip("/")
        known = site()
        if not hmac.compare_digest(shown.encode(), ("Bearer " + self.server.token).encode()):
            self._answer(401, {"error": "The token is missing."})
        elif not profile:
            self._answer(200, {"profile": active_profile()})
        elif profile not in profiles_of(known):
            self._answer(404, {"error": "%s has no profile %s." % (known["node"], profile)})
        else:
            self._wake(known["node"], profile)

    def _wake(self, node: str, profile: str) -> None:
        failure = self.server.switches.to(profile, self.server.hold_s)
        if failure is None:
            self._refuse(30, "%s switches to profile %s. %s" % (node, profile, AGAIN))
        elif failure:
            self._refuse(60, "%s does not switch to profile %s now: %s" % (node, profile, failure))
        elif self.headers.get("X-AI-Kept") == "yes":
            self._answer(200, {}, {"X-Accel-Redirect": "@woken"})
        else:
            self._refuse(1, "Profile %s of %s is active now. Send the request again." % (profile, node))

    def _refuse(self, after_s: int, said: str) -> None:
        self._answer(503, {"error": said}, {"Retry-After": str(after_s)})

    def _answer(self, status: int, content: Dict[str, str], headers: Optional[Dict[str, str]] = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers or {}, **{"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(arguments: Optional[List[str]] = None) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("home", help="the node's own profile")
    for option, meaning in (
        ("hold", "a request waits"),
        ("settle", "the gateway needs"),
        ("idle", "nobody asks"),
    ):
        parser.add_argument("--" + option, type=float, default=60, help="seconds that %s" % meaning)
    options = parser.parse_args(arguments)
    with open(ROOT + "/profile_wake/secrets/token") as handle:
        token = handle.read().strip()
    switches = Switches(switched, options.settle)
    watch = threading.Thread(target=go_home, args=(switches, options.home, options.idle), daemon=True)
    watch.start()
    Server((options.address, options.port), switches, token, options.hold).serve_forever()


if __name__ == "__main__":
    main()

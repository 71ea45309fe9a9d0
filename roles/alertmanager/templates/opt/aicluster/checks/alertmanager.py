"""Alertmanager: a test alert is posted to it, and seen to arrive where its receiver `verify` delivers.

That receiver posts to a port of the container's own loopback. The check listens there: it starts itself a
second time, as a program, inside the container's network (nsenter). So nothing outside can connect, no
firewall stands between, and what is seen is a real delivery over HTTP.
"""

import http.server
import os
import subprocess
import sys
import time
from typing import Any, Dict, List, Type

import aicluster_verify
from aicluster_verify import CheckError, Kit, Seen

FLOWS = {"alerts": "a test alert is posted and delivered"}
# As in roles/alertmanager/vars/main.yml.
PORT = 9096
DELIVERY_S = 25
RECEIVERS = ("page", "default", "deadman")


def listen(port: int, mark: str, seconds: float) -> int:
    """Print `ready`, then the first notification that holds the mark; return 1 if none comes in time."""
    found = []  # type: List[str]

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            if mark in body:
                found.append(body)

        def log_message(self, *_words: Any) -> None:
            """Keep standard error for errors."""

    with once_free(port, Receiver) as server:
        end = time.monotonic() + seconds
        server.timeout = 0.5
        print("ready", flush=True)
        while not found and time.monotonic() < end:
            server.handle_request()
    print("".join(found[:1]))
    return int(not found)


def once_free(port: int, receiver: Type[http.server.BaseHTTPRequestHandler]) -> http.server.HTTPServer:
    """Return a server on the port; another verify that listens there ends in a moment."""
    end = time.monotonic() + DELIVERY_S
    while True:
        try:
            return http.server.HTTPServer(("127.0.0.1", port), receiver)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def into_the_container(kit: Kit) -> List[str]:
    """Return the words that start a command in the network of Alertmanager's container."""
    pid = kit.run(["docker", "inspect", "--format", "{{.State.Pid}}", kit.container("alertmanager")]).strip()
    return ["nsenter", "--target", pid, "--net"]


def listener(kit: Kit, mark: str) -> "subprocess.Popen[str]":
    """Return the running listener, once it listens."""
    program = [sys.executable or "python3", __file__, str(PORT), mark, str(DELIVERY_S)]
    process = subprocess.Popen(
        into_the_container(kit) + program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, PYTHONPATH=os.path.dirname(aicluster_verify.__file__)),
    )
    if process.stdout is None or process.stdout.readline().strip() != "ready":
        process.kill()
        raise CheckError("cannot listen in its network: %s" % process.communicate()[1].strip()[-300:])
    return process


def timestamp(seconds: float) -> str:
    """Return a time of day as Alertmanager's API wants it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def test_alert(kit: Kit, mark: str, ends: float) -> List[Dict[str, Any]]:
    """Return the test alert with this mark; it ends by itself if nobody takes it back."""
    labels = {"alertname": "VerifyTest", "severity": "test", "node": kit.node, "run_id": mark}
    annotations = {"summary": "A test alert of verify.", "next": "nothing to do"}
    return [{"labels": labels, "annotations": annotations, "endsAt": timestamp(ends)}]


def mute(kit: Kit) -> List[str]:
    """Return the receivers without a URL: they tell nobody."""
    status = kit.expect(kit.url("alertmanager", "web", "/api/v2/status")).json()
    return [name for name in RECEIVERS if "/%s_url" % name not in status["config"]["original"]]


def check(kit: Kit) -> Seen:
    """Return how long a test alert took to be delivered, and as a warning which receivers tell nobody."""
    url = kit.url("alertmanager", "web", "/api/v2/alerts")
    silent = mute(kit)
    began = time.time()
    # Told alerts are remembered: the same one, fired again at once, would be no news and not be delivered.
    mark = "%s-%d" % (kit.run_id, 1000 * began)
    process = listener(kit, mark)
    try:
        kit.expect(url, method="POST", data=test_alert(kit, mark, began + 60))
        delivered = process.communicate(timeout=DELIVERY_S + 5)[0].strip()
    except subprocess.TimeoutExpired:
        delivered = ""
    finally:
        process.kill()
        kit.http(url, method="POST", data=test_alert(kit, mark, time.time()))
    if '"receiver":"verify"' not in delivered.replace('": "', '":"'):
        raise CheckError(
            "a test alert (run_id %s) was accepted, but not delivered within %d s: %s"
            % (mark, DELIVERY_S, delivered[:200] or "nothing came")
        )
    seen = "a test alert was delivered in %.1f s" % (time.time() - began)
    if not silent:
        return seen
    empty = ", ".join("alertmanager_%s_url" % name for name in silent)
    return seen, "no URL in %s: their alerts are told to nobody" % empty


if __name__ == "__main__":
    sys.exit(listen(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))

"""Lets running containers read their changed files again, and sees that they did."""

import shlex
import subprocess
import time

from .system import STACK_ROOT

COMPOSE = ["docker", "compose", "--ansi", "never", "--project-directory", STACK_ROOT]
TIMEOUT_S = 30
PAUSE_S = 0.3
# Of a container that fails.
LOG_LINES = "15"
RETRY = (
    "It keeps the configuration loaded before. Fix the cause, then run the same playbook again, which "
    "retries the reload."
)


def reload(request):
    """Reload containers; one that keeps its old configuration does not keep the others from it."""
    failures = [failure for failure in map(reload_one, request["reloads"]) if failure]
    if failures:
        return {"failed": True, "msg": "\n".join(failures + [RETRY])}
    return {"changed": True}


def run(command):
    """Return (exit code, what it printed) of a command."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def compose(*arguments):
    """Return (exit code, what it printed) of a command of compose."""
    return run(COMPOSE + list(arguments))


def confirmed(service, command, since):
    """Ask until the container works with its new files; return None, or what it said last."""
    inside = ["exec", "-T", "-e", "SINCE=%.3f" % since, service] + shlex.split(command)
    deadline = time.time() + TIMEOUT_S
    while True:
        code, said = compose(*inside)
        if code == 0:
            return None
        if time.time() > deadline:
            return said
        time.sleep(PAUSE_S)


def state_of(service):
    """Return what the container does: `running healthy`, `exited`, ...; empty where there is none."""
    _code, container = compose("ps", "--all", "--quiet", service)
    shape = "{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}"
    return run(["docker", "inspect", "--format", shape, container])[1] if container else ""


def reload_one(one):
    """Reload one container; return None, or why it works with its old files."""
    service, since = one["service"], time.time()
    state = state_of(service)
    if not state.startswith("running"):
        return None  # it reads its files when it starts
    # What is sick may hear nothing, and would be called sick until its next check.
    anew = state.endswith("unhealthy")
    inside = ("exec", "-T", service) + tuple(shlex.split(one["command"]))
    code, said = compose("restart", service) if anew else compose(*inside)
    failure = "ended with %d" % code
    if code == 0:
        said = None if anew else confirmed(service, one["confirm"], since)
        failure = "had no effect within %d s" % TIMEOUT_S
        if said is None:
            return None
    _code, log = compose("logs", "--no-log-prefix", "--since", "%.3f" % since, "--tail", LOG_LINES, service)
    return "%s: `%s` %s for %s: %s\nIts log since then:\n%s" % (
        service,
        one["command"],
        failure,
        ", ".join(one["files"]) or "files of an earlier run",
        said or "nothing was said",
        log or "(empty)",
    )

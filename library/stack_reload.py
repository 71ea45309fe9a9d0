#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Let running containers read their changed files again, and see that they did."""

DOCUMENTATION = r"""
module: stack_reload
short_description: Let running containers read their changed files again, and see that they did
description:
  - Runs a command inside each container and asks until the container says that it works with the new files.
  - No signal is sent through Docker. It would count as a stop by hand, and the container would stay down
    after the next boot of the node.
  - A container that is unhealthy is restarted instead; one that does not run reads its files when it starts.
  - One container that keeps its old configuration does not keep the others from being reloaded.
options:
  reloads:
    description: The containers, each a service of the node's compose project.
    type: list
    elements: dict
    required: true
    suboptions:
      service: {description: Name of the compose service., type: str, required: true}
      command: {description: What makes it read its files., type: str, required: true}
      confirm:
        description:
          - Ends with 0 once it works with them, and otherwise prints why not. Its environment has C(SINCE),
            the seconds since 1970 at which the command began.
        type: str
        required: true
      files:
        description: The files that changed; none where an earlier run still owed the reload.
        type: list
        elements: str
        default: []
"""

EXAMPLES = r"""
- name: Let nginx read its files again
  stack_reload:
    reloads:
      - service: nginx
        command: nginx -s reload
        confirm: sh -c 'curl -fsS http://127.0.0.1/healthz/nginx | grep new'
"""

RETURN = r"""
reloaded: {description: The services that work with their new files., type: list}
"""

import shlex
import subprocess
import time

from ansible.module_utils.aicluster_node.system import STACK_ROOT
from ansible.module_utils.basic import AnsibleModule

COMPOSE = ["docker", "compose", "--ansi", "never", "--project-directory", STACK_ROOT]
TIMEOUT_S = 30
PAUSE_S = 0.3
# Of a container that fails.
LOG_LINES = "15"


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


def reload(one):
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


def main():
    """Reload what is asked for."""
    options = {
        "service": {"type": "str", "required": True},
        "command": {"type": "str", "required": True},
        "confirm": {"type": "str", "required": True},
        "files": {"type": "list", "elements": "str", "default": []},
    }
    reloads = {"type": "list", "elements": "dict", "required": True, "options": options}
    module = AnsibleModule(argument_spec={"reloads": reloads}, supports_check_mode=True)
    names = [one["service"] for one in module.params["reloads"]]
    if module.check_mode:
        module.exit_json(changed=True, reloaded=names)
    failures = [reload(one) for one in module.params["reloads"]]
    reloaded = [name for name, failure in zip(names, failures) if not failure]
    if any(failures):
        module.fail_json(
            changed=bool(reloaded),
            reloaded=reloaded,
            msg="\n".join(filter(None, failures))
            + "\nIt keeps the configuration loaded before. Fix the cause, then run the same playbook again, "
            "which retries the reload.",
        )
    module.exit_json(changed=True, reloaded=reloaded)


if __name__ == "__main__":
    main()

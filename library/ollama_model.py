#!/usr/bin/python
"""Ansible module: the models and aliases of one Ollama server."""

DOCUMENTATION = r"""
module: ollama_model
short_description: Pulls, removes and aliases the models of an Ollama server
description:
  - A server that has all models and aliases is asked once and the model registry never, so nodes without
    internet converge. Check mode predicts.
  - Anything else is done by a background process on the node, one at a time. The action plugin of the same
    name watches that process and prints its progress, also where an earlier task or run has begun it.
options:
  url: {description: The server as the node sees it., type: str, required: true}
  models: {description: C(ollama_models) of the role C(ollama)., type: list, elements: dict, required: true}
  aliases: {description: C(ollama_aliases) of the role C(ollama)., type: dict, required: true}
  mirrors: {description: "Registries to ask first, as host:port.", type: list, elements: str, required: true}
  volume: {description: Docker volume the server keeps its models in., type: str, required: true}
  progress_file: {description: File that the background process keeps locked., type: path, required: true}
  wait: {description: "Whether to wait; if not, a later task reports.", type: bool, required: true}
  watch_s: {description: Seconds to watch the process; set by the action plugin., type: float, default: 0}
"""

RETURN = r"""
finished: {description: False while the background process works., type: bool}
removed: {description: Models that were deleted., type: list}
pulled: {description: Models that were pulled., type: list}
aliased: {description: Aliases that were made (alias -> model)., type: list}
messages: {description: Models that are there now and mirrors that failed., type: list}
progress: {description: How far the present pull is., type: str}
"""

import time
from contextlib import closing

from ansible.module_utils.aicluster_models.background import Progress, detach, work
from ansible.module_utils.aicluster_models.disk import require_all
from ansible.module_utils.aicluster_models.plan import predict
from ansible.module_utils.aicluster_models.server import ModelError, Server
from ansible.module_utils.basic import AnsibleModule

OPTIONS = {
    "url": {"type": "str", "required": True},
    "models": {"type": "list", "elements": "dict", "required": True},
    "aliases": {"type": "dict", "required": True},
    "mirrors": {"type": "list", "elements": "str", "required": True},
    "volume": {"type": "str", "required": True},
    "progress_file": {"type": "path", "required": True},
    "wait": {"type": "bool", "required": True},
    "watch_s": {"type": "float", "default": 0},
}
LOOK_S = 1
STARTING = "models: about to start"
KILLED = "the process that pulls was killed; run the playbook again: it goes on where it stopped"


def folder_of(module):
    """Return the folder of the volume. Raises ModelError if there is no such volume."""
    volume = module.params["volume"]
    command = ["docker", "volume", "inspect", "--format", "{{ .Mountpoint }}", volume]
    code, output, complaint = module.run_command(command)
    if code:
        raise ModelError(
            "volume %s: cannot be asked for its disk (%s). Is the service up? On the node: docker volume ls"
            % (volume, complaint.strip())
        )
    return output.strip()


def finished(done):
    """Return the result of what was done, or would be."""
    lists = {key: done[key] for key in ("removed", "pulled", "aliased")}
    diff = {"before": lists["removed"], "after": lists["pulled"] + lists["aliased"]}
    return dict(
        lists,
        messages=done.get("messages", []),
        finished=True,
        changed=any(lists.values()),
        diff={side: "".join(name + "\n" for name in names) for side, names in diff.items()},
    )


def todo(params, server):
    """Return what the server lacks, as in the result."""
    return predict(server.tags(), params["models"], params["aliases"], params["mirrors"])


def predicted(module, server):
    """Return what a run would do. Raises ModelError if its models do not fit on the disk."""
    would = todo(module.params, server)
    models = module.params["models"]
    coming, leaving = ([m for m in models if m["name"] in would[key]] for key in ("pulled", "removed"))
    require_all(folder_of(module), coming, leaving)
    return finished(would)


def begin_or_watch(module, server, progress):
    """Begin what is to be done, or watch who does it already; return the result.

    With `watch_s` this call follows another: what went wrong meanwhile is told, and not tried again.
    """
    watch_s = module.params["watch_s"]
    deadline = time.monotonic() + watch_s
    while not progress.lock():
        told = progress.read()
        if told["progress"] and time.monotonic() >= deadline:
            return {"finished": False, "progress": told["progress"], "messages": told["messages"]}
        time.sleep(LOOK_S)
    told = progress.read()
    error = KILLED if told["progress"] else told["error"]
    if watch_s and error:
        progress.forget()
        return dict(finished(told), failed=True, msg=error)
    if not any(todo(module.params, server).values()):
        progress.forget()
        return finished(told)
    folder = folder_of(module)
    progress.write(progress=STARTING, error=None)
    detach(lambda: work(server, module.params, folder, progress))
    return {"finished": False, "progress": STARTING, "messages": told["messages"]}


def main():
    """Entry point."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    server = Server(module.params["url"])
    try:
        if module.check_mode:
            result = predicted(module, server)
        else:
            with closing(Progress(module.params["progress_file"])) as progress:
                result = begin_or_watch(module, server, progress)
    except ModelError as failure:
        module.fail_json(msg=str(failure))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

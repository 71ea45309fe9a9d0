"""Checks of files before they are put in place, in a folder that stands for the root of the file system."""

import json
import os
import shlex
import stat
import subprocess

from . import system
from .files import make_parents

CHECK_TIMEOUT_S = 300
# What a container that checks files has in common with the one that will read them.
CHECK_KEYS = (
    "cap_add", "cap_drop", "environment", "group_add", "image", "mem_limit", "memswap_limit", "pids_limit",
    "read_only", "security_opt", "shm_size", "tmpfs", "user", "working_dir",
)  # fmt: skip
# In a checker's command it stands for the arguments of its service, for programs that read nothing else.
OWN_ARGUMENTS = "@arguments@"


def check_staged(request, files):
    """Stage the delivered files and let their checkers read them; raise RefusedError with what they say."""
    import shutil
    import tempfile

    directory = tempfile.mkdtemp(prefix="aicluster-stage-")
    try:
        stage([want["path"] for want in request["files"]] + request["others"], files, directory)
        for path, command in sorted(request["validations"].items()):
            check_file(command.replace("%s", shlex.quote(directory + path)), path)
        if request["compose_check"]:
            check_project(directory, request["checks"])
    finally:
        shutil.rmtree(directory)


def stage(owned, files, directory):
    """Write the project as it will be under `directory`.

    Only regular files of the desired state are copied: a link would lead out of the folder.
    """
    delivered = {path for path, _content, _mode, _uid, _gid in files}
    staged = list(files)
    for path in owned:
        is_file = os.path.isfile(path) and not os.path.islink(path)
        if is_file and path.startswith(system.STACK_ROOT + "/") and path not in delivered:
            found = os.stat(path)
            with open(path, "rb") as handle:
                content = handle.read()
            staged.append((path, content, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid))
    for path, content, mode, uid, gid in staged:
        # With the owners of the real files: a secret's checker runs as the user who may read the secret.
        make_parents(path, uid, gid, directory)
        with open(directory + path, "wb") as handle:
            handle.write(content)
            os.fchown(handle.fileno(), uid, gid)
            os.fchmod(handle.fileno(), mode)


def check_file(command, subject):
    """Run a checker on a staged file; raise RefusedError with what it said."""
    done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise system.RefusedError(
            "%s was refused by `%s` (rc %d): %s" % (subject, command.split()[0], done.returncode, said)
        )


def check_project(directory, checks):
    """Let compose and the containers' programs read what is staged; raise RefusedError with all they say."""
    project = staged_project(directory)
    refusals = [
        check_container(service, project["services"][service], directory, checks[service])
        for service in sorted(checks)
    ]
    if any(refusals):
        raise system.RefusedError("\n".join(refusal for refusal in refusals if refusal))


def staged_project(directory):
    """Return the compose project as it will be, resolved; raise RefusedError with what compose says of it."""
    project = directory + system.STACK_ROOT + "/compose.yaml"
    # Services of all profiles: inactive ones are read as well.
    command = ["docker", "compose", "-f", project, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise system.RefusedError(
            "%s/compose.yaml was refused by `docker compose config` (rc %d): %s"
            % (system.STACK_ROOT, done.returncode, said)
        )
    return json.loads(done.stdout.decode())


def check_container(service, definition, directory, wanted):
    """Run the checker of a service's files on the staged ones; return its objections, or ""."""
    project = directory + "/check.json"
    name = "%s-check-%s-%d" % (system.PROJECT, service, os.getpid())
    with open(project, "w") as handle:
        json.dump({"services": {service: checker_of(definition, directory, wanted["command"])}}, handle)
    compose = ["docker", "compose", "--ansi", "never", "-p", system.PROJECT + "-check", "-f", project]
    try:
        done = subprocess.run(
            compose + ["run", "--rm", "-T", "--name", name, service],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
        if not done.returncode:
            return ""
        result = "rc %d" % done.returncode
        said = done.stdout
    except subprocess.TimeoutExpired as expired:
        system.run(["docker", "rm", "--force", name])
        result = "no end within %d s" % CHECK_TIMEOUT_S
        said = expired.stdout or b""
    return "%s of service %s was refused by `%s` (%s): %s" % (
        ", ".join(wanted["files"]),
        service,
        wanted["command"],
        result,
        both_ends(said.decode("utf-8", "replace").strip()),
    )


def checker_of(definition, directory, command):
    """Return the compose service that checks staged files: like the real one, but alone and without data.

    It reads the staged files where the real service will read them. Volumes are empty memory.
    """
    mounts = definition.get("volumes") or []
    staged = [
        dict(mount, source=directory + mount["source"], read_only=True)
        for mount in mounts
        if mount["type"] == "bind" and mount["source"].startswith(system.STACK_ROOT + "/")
    ]
    empty = [{"type": "tmpfs", "target": mount["target"]} for mount in mounts if mount["type"] == "volume"]
    kept = {key: definition[key] for key in CHECK_KEYS if key in definition}
    words = []
    for word in shlex.split(command):
        words += (definition.get("command") or []) if word == OWN_ARGUMENTS else [word]
    return dict(
        kept,
        entrypoint=words,
        command=[],
        volumes=staged + empty,
        network_mode="none",
        pull_policy="never",
        logging={"driver": "none"},
    )


def both_ends(text, lines=10):
    """Return a long text without its middle: some programs print their usage after the error."""
    found = text.splitlines()
    left_out = len(found) - 2 * lines
    if left_out <= 0:
        return text
    return "\n".join(found[:lines] + ["[%d more lines]" % left_out] + found[-lines:])

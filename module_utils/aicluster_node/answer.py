"""The answer to one request of the controller.

A request is a JSON object with these keys; which of them it has depends on its verb:

verb             a key of VERBS
run, over        who holds the node, see `hold`; the run that is known to be dead
files            [{path, sha256, accept, mode, uid, gid, text, fragment}]; `accept`: other digests that are
                 right as well; `fragment`: our part of a shared JSON file
packages         [name]
sources          record: [path], files of a package repository
units            [{name, waits, boot}]
containers       {compose service: digest}
container_profiles
                 {compose service: [profiles it runs in]}; a service that is not named runs in all
profile          the profile of a node that was never switched
probes           {service: what `probes.probe` takes}
images           inspect: {compose service: image}; pull: [image]
engine           {files: [path], packages: [name]}: what must be as wanted before images are asked for;
                 programs: [name] of its runtimes besides runc
firewall         whether a firewall of ours is wanted on the node
with_text        whether to return the text of what differs, for a diff
provisioned_now  {service: provisioning digest to remember, or null to keep the remembered one}; null in the
                 middle of a run
done             inspect: the reactions of a run that is not about the whole node; null: all are done
archive          base64 of a tar.gz, paths relative to /
remove           [path]
reactions        [[restart, reload or trial, unit or program]]
trials           begin, handled: [program] that takes what was delivered on trial, and confirms it
validations      {path: command with %s}
compose_check    whether compose reads the staged project before anything is replaced
checks           {compose service: {command, files: [path]}}: run in a container like the service's own
others           [path]: files on the node that compose reads with the delivered ones
reloads          [{service, command, confirm, files}]: what makes a container read its files again, what
                 ends with 0 once it works with them, else prints why not, with SINCE, the seconds since 1970
                 at which the command began, and the files, none where an earlier run owed the reload
before           {service: what it was before its image changes, see `state.read_state`}
partial          whether more of the desired state follows: files that are not named stay known
"""

import importlib
import os

from .system import RefusedError

# The module that has the function of this name.
VERBS = {
    "inspect": "inspection",
    "hold": "hold",
    "release": "engine_start",
    "record": "packages",
    "pull": "images",
    "deliver": "delivery",
    "begin": "delivery",
    "handled": "delivery",
    "reload": "reloading",
    "restore": "shared_files",
    "remember": "state",
    "recall": "state",
}


def answer(request):
    """Return the answer to a request; one with `run` is for the one run that may change the node."""
    # Whatever root's umask is: files have the modes that are named, and all else everyone may read.
    os.umask(0o022)
    os.environ.update(LC_ALL="C", LANGUAGE="C")  # words of programs are looked for
    if not request.get("run"):
        return perform(request)
    from .hold import perform_held

    return perform_held(request, perform)


def perform(request):
    """Carry out the verb of a request."""
    verb = request["verb"]
    module = importlib.import_module("." + VERBS[verb], __package__)
    try:
        return getattr(module, verb)(request)
    except RefusedError as refusal:
        return {"failed": True, "msg": "%s. Nothing was replaced on this node." % refusal}

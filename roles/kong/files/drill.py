"""Tells whether a restored copy of Kong's file is good: Kong reads it, with the settings it came with."""

import json
import os

from aicluster_backup_tools import FailedError, ask
from aicluster_drill_kit import LABEL, Answer, main

FILE, MEMORY = "kong.yml", "512m"
SAID_AT_MOST = 300


def drill(folder: str) -> Answer:
    """Let Kong read the file in a container without network; raise FailedError with what it says."""
    top = os.path.join(folder, "host/opt/aicluster/kong")
    # A copy is data: Compose fetches nothing that it names.
    alone = dict(os.environ, COMPOSE_EXPERIMENTAL_GIT_REMOTE="0", COMPOSE_EXPERIMENTAL_OCI_REMOTE="0")
    argv = ["docker", "compose", "--file", top + "/compose.yaml", "config", "--format", "json"]
    read = ask(argv, env=alone)
    if read.code:
        raise FailedError("compose.yaml: " + read.last_line)
    kong = json.loads(read.out)["services"]["kong"]
    # Compose writes a dollar twice.
    options = ["--env=%s=%s" % pair for pair in kong["environment"].items()]
    options = [word.replace("$$", "$") for word in options] + ["--tmpfs=" + place for place in kong["tmpfs"]]
    argv = [
        "docker", "run", "--rm", "--label", LABEL, "--network", "none", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--log-driver", "none", "--memory", MEMORY,
        "--memory-swap", MEMORY, "--user", os.environ["DRILL_UID"] + ":0", *options,
        "--volume", top + "/secrets:/kong/declarative:ro", os.environ["DRILL_IMAGE"],
        "kong", "config", "parse", "/kong/declarative/" + FILE,
    ]  # fmt: skip
    said = ask(argv)
    if said.code:
        why = said.error.partition("Error: ")[2] or said.error
        raise FailedError("%s: %s" % (FILE, " ".join(why.split())[:SAID_AT_MOST]))
    return {"evidence": "Kong reads %s: %s" % (FILE, said.out.strip())}


if __name__ == "__main__":
    main(drill)

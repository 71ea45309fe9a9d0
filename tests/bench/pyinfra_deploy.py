"""The desired state of a node as a pyinfra deploy."""

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

PROJECT = "/opt/aicluster"
LABELS = '{{.Label "com.docker.compose.service"}} {{.Label "aicluster.digest"}} {{.State}}'
LIST = f"docker ps -a --filter label=com.docker.compose.project=aicluster --format '{LABELS}' | sort"

node = host.data.node

apt.packages(name="Install packages", packages=node["packages"])
for file in node["files"]:
    files.put(
        name=f"Lay down {file['path']}",
        src=file["content"],
        dest=file["path"],
        # By name: pyinfra compares names, and a user of a container has none here.
        user=file["user"],
        group=file["group"],
        mode=file["mode"],
    )
for unit in node["units"]:
    systemd.service(name=f"Enable and start {unit}", service=unit, running=True, enabled=True)
if node["containers"]:
    wanted = sorted(f"{name} {digest} running" for name, digest in node["containers"].items())
    if (host.get_fact(Command, LIST) or "").splitlines() != wanted:
        server.shell(
            name="Bring up the project", commands=[f"docker compose --project-directory {PROJECT} up -d"]
        )
for service, url in node["probes"].items():
    if not host.get_fact(Command, f"curl -fs {url}"):
        server.shell(name=f"Complain about {service}", commands=["false"])

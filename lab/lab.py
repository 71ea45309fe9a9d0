"""The lab's commands: up, nodes, prepare, status, down. `make lab` and its siblings call this."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import docker
from aicluster_lab import access, card, engine, firewall, images, nodes, registry, status, subnet
from aicluster_lab.base_image import remove_root
from aicluster_lab.containers import NETWORK, TAKE_OVER, Containers
from aicluster_lab.errors import LabError
from aicluster_lab.lock import held, require_owner
from aicluster_lab.parallel import in_parallel
from aicluster_lab.progress import Progress
from aicluster_lab.sitedata import INVENTORY, Site, ansible, load_site
from docker.errors import DockerException

ROOT = Path(__file__).resolve().parents[1]
NODES_AT_ONCE = 4


class Lab:
    """One checkout's lab."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        with progress.step("inventory"):
            self.site: Site = load_site(ROOT)
        require_owner(self.site.state, ROOT / ".cache")
        self.port = registry.published_port()

    def prepare(self) -> docker.DockerClient:
        """Engine, registry and the images in it: all that is slow and needs the network."""
        self.site.state.mkdir(exist_ok=True, mode=0o700)
        client = engine.connect(self.site.state, self.progress)
        containers = Containers(client, ROOT)
        containers.require_own(take_over=TAKE_OVER in os.environ)
        subnet.require_free(self.site.network, subnet.host_occupied(client, NETWORK))
        workshop = images.Workshop(client, ROOT, self._image_mode(), self.progress)
        workshop.make_own("registry")
        self._registry(containers)
        # Pushed while others are still being built.
        tags = [(image, registry.local_tag(image, self.port)) for image in self.site.images]
        workshop.make(tags, lambda image: self._publish(client, image))
        return client

    def nodes(self) -> dict[str, str]:
        """Everything but the software: seven bare nodes that Ansible can reach. Returns the secrets."""
        client = self.prepare()
        containers = Containers(client, ROOT)
        with self.progress.step("firewall"):
            firewall.apply(containers, self.site.network, subnet.host_resolvers())
        wanted = {registry.CONTAINER, *(node.container for node in self.site.nodes)}
        if strangers := containers.remove_others(wanted):
            self.progress.say(f"  no longer in the inventory, removed: {', '.join(strangers)}")
        with self.progress.step(f"nodes: {', '.join(node.name for node in self.site.nodes)}") as step:
            public_key = access.ensure_key(self.site.private_key)
            missing = nodes.host_missing_capabilities()
            found = in_parallel(
                NODES_AT_ONCE,
                lambda node: nodes.bring_up(containers, node, missing, public_key),
                self.site.nodes,
            )
            known_hosts = "".join(line for line, _ in found)
            access.write_private(self.site.private_key.with_name("known_hosts"), known_hosts)
            step.detail = _changed(any(changed for _, changed in found))
        self._renew_images(client)
        return access.ensure_secrets(self.site)

    def up(self) -> None:
        """The nodes, the whole site.yml over ssh, one chat request, and the card."""
        began = time.monotonic()
        secrets = self.nodes()
        with self.progress.step("site.yml"):
            command = [ansible(ROOT, "ansible-playbook"), *INVENTORY, "site.yml"]
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                raise LabError(
                    "site.yml failed (see above). The nodes stay as they are; repair it and run this again."
                )
        content = card.make_card(self.site, secrets)
        access.write_private(self.site.state / "card.json", json.dumps(content, indent=2) + "\n")
        with self.progress.step("first chat request") as step:
            node, words = card.first_chat(content)
            step.detail = f"answered by {node}"
        self.progress.say(f"\n  {node}: {words[:200]}\n  Ready after {time.monotonic() - began:.0f} s.")
        self.progress.say(card.card_text(content, self.site.state))

    def down(self) -> None:
        """Remove all of the lab but the build cache: images and .cache/."""
        client = engine.answering()
        if not client and (self.site.state / "image-mode").exists():
            raise LabError(
                "No Docker Engine answers, so nothing can be removed. Start it (systemctl start docker, or "
                "make lab where the lab started it) or use an account that may talk to it, then run this."
            )
        if client:
            containers = Containers(client, ROOT)
            containers.require_own()
            with self.progress.step("containers, volumes, network") as step:
                if containers.has_network():
                    status.end_ssh_sessions(self.site)
                step.detail = f"{containers.remove_all()} containers"
            with self.progress.step("firewall"):
                firewall.remove(containers)
        with self.progress.step("engine") as step:
            step.detail = "stopped" if engine.stop(self.site.state) else "not the lab's alone: left running"
        remove_root(self.site.state / "build" / "base")
        # What playbooks/promote.yml wrote.
        (ROOT / "inventory/lab/group_vars/all.yml").unlink(missing_ok=True)
        if self.site.state.exists():
            shutil.rmtree(self.site.state)

    def status(self) -> None:
        """Print one line per node, the firewall and, once there is one, the card."""
        client = engine.answering()
        if not client:
            raise LabError("No Docker Engine answers, so no lab is running. Start it with `make lab`.")
        self.progress.say(status.show(client, self.site))
        dropped = firewall.dropped_packets(Containers(client, ROOT))
        rules = "not set" if dropped < 0 else f"set; {dropped} packets to other private networks dropped"
        self.progress.say(f"firewall: {rules}")
        path = self.site.state / "card.json"
        if path.exists():
            self.progress.say(card.card_text(json.loads(path.read_text()), self.site.state))

    def _image_mode(self) -> str:
        """As chosen when this lab was made: a registry that comes and goes must not change its images."""
        record = self.site.state / "image-mode"
        wanted = os.environ.get("AICLUSTER_LAB_IMAGES", "") or (record.read_text() if record.exists() else "")
        mode = images.choose_mode(wanted, images.registry_reachable)
        record.write_text(mode)
        return mode

    def _registry(self, containers: Containers) -> None:
        with self.progress.step("network") as step:
            step.detail = _changed(containers.network(self.site.network, self.site.router))
        with self.progress.step("registry") as step:
            container, created = containers.create(registry.description(*self.site.registry, self.port))
            step.detail = _changed(registry.start(container) or created)
            registry.wait_until_ready(self.port)

    def _publish(self, client: docker.DockerClient, image: str) -> None:
        with self.progress.step(f"registry: {image}") as step:
            step.detail = "pushed" if registry.publish(client, image, self.port) else "is there"

    def _renew_images(self, client: docker.DockerClient) -> None:
        mirror = ":".join(map(str, self.site.registry))
        wanted = {f"{mirror}/{image}": registry.stored_digest(image, self.port) for image in self.site.images}
        containers = [client.containers.get(node.container) for node in self.site.nodes]
        with self.progress.step("images on the nodes") as step:
            renewed = sum(in_parallel(NODES_AT_ONCE, lambda node: registry.renew(node, wanted), containers))
            step.detail = f"{renewed} renewed" if renewed else "unchanged"


def _changed(changed: bool) -> str:
    return "made" if changed else "unchanged"


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    parser.add_argument("command", choices=("up", "nodes", "prepare", "status", "down"))
    command = parser.parse_args(arguments).command
    try:
        lab = Lab(Progress())
        if command == "status":
            lab.status()
        else:
            with held(ROOT):
                {"up": lab.up, "nodes": lab.nodes, "prepare": lab.prepare, "down": lab.down}[command]()
    except (LabError, DockerException, OSError, subprocess.CalledProcessError) as error:
        print(f"\nlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlab: interrupted; run the same command again to continue.", file=sys.stderr, flush=True)
        os._exit(130)  # builds under way in threads would hold a normal exit
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/python
"""Remove from a node what the toolkit made there, and nothing else."""

DOCUMENTATION = r"""
module: stack_cleanup
short_description: Remove from a node what the toolkit made there, and nothing else
description:
  - What is the toolkit's is known from the file its runs leave on the node (files, parts of shared files,
    packages it installed) and from its compose project (containers, networks, volumes, images).
  - The file its runs left stays, for the caller to remove once all it does after this module is done. So do
    our parts of shared files, which C(stack_step) takes out with C(phase=restore), as it put them in.
  - Kernel settings that were applied stay until the next boot. Check mode says what would be removed.
options:
  keep_data: {description: Keep the volumes with data., type: bool, default: false}
  keep_models: {description: Keep the volumes with models in any case., type: bool, default: false}
  repositories:
    description: Images the toolkit uses, without tag; those of them that no container uses any more go, too.
    type: list
    elements: str
    default: []
  leftovers:
    description:
      - Remove only what services left that moved to another node or were renewed. That is volumes of the
        toolkit's project and images of O(repositories) that no container uses and no service placed on the
        node names, with or without a container. What runs is not touched.
    type: bool
    default: false
"""

RETURN = r"""
containers: {description: Names of containers., type: list}
networks: {description: Names of networks., type: list}
volumes: {description: Names of volumes., type: list}
kept: {description: Names of volumes that stay., type: list}
images: {description: Images that only the toolkit's containers use or used., type: list}
files: {description: Paths of files., type: list}
shared: {description: Shared files that lose the toolkit's part., type: list}
units: {description: systemd units that are disabled and stopped., type: list}
packages: {description: Packages the toolkit installed and the caller removes., type: list}
bystanders: {description: Containers of others on the same engine., type: list}
"""

import os
import shutil

from ansible.module_utils.aicluster_node import state as node_state
from ansible.module_utils.aicluster_node.files import is_there, remove_empty_parents, remove_metrics
from ansible.module_utils.aicluster_node.system import PROJECT, STACK_ROOT, UNITS
from ansible.module_utils.basic import AnsibleModule

# What runs of the toolkit tell each other until the next boot.
RUN_FOLDER = "/run/aicluster"
LABEL = "com.docker.compose.project=" + PROJECT
# Names in the compose files.
MODEL_VOLUMES = ("ollama", "comfyui_models")
# Removing it would take the containers of others along.
ENGINE = (
    "docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin", "docker.io", "docker-cli",
    "docker-compose",
)  # fmt: skip
# What is removed of each kind, and how. Units first: one of them may watch, or start, what goes next.
REMOVALS = (
    ("units", "systemctl disable --now"),
    ("containers", "docker rm --force"),
    ("networks", "docker network rm"),
    ("volumes", "docker volume rm"),
    ("images", "docker image rm --force"),
)


def docker(module, command, shape=None):
    """Return the lines a read-only command of Docker prints; none where Docker is not installed."""
    if not module.get_bin_path("docker"):
        return []
    words = ["docker"] + command.split() + (["--format", shape] if shape else [])
    code, out, err = module.run_command(words)
    if code:
        # An engine that does not answer is not an empty one.
        module.fail_json(
            msg="`%s` failed: %s. Nothing was removed, as what Docker holds cannot be seen. Mend it (is it "
            "stopped: sudo systemctl start docker) and run the cleanup again."
            % (" ".join(words), err.strip() or out.strip())
        )
    return [line for line in out.splitlines() if line]


def owned_volumes(module):
    """Return volume name -> name in the compose file, of the toolkit's project."""
    shape = '{{.Name}} {{.Label "com.docker.compose.volume"}}'
    listed = docker(module, "volume ls --filter label=" + LABEL, shape)
    return dict(line.split(" ", 1) for line in listed if " " in line)


def kept_volumes(volumes, keep_data, keep_models):
    """Return the names of the volumes that stay."""
    models = {name for name, short in volumes.items() if short in MODEL_VOLUMES}
    kept = models if keep_models else set()
    return sorted(kept | (set(volumes) - models if keep_data else set()))


def image_lists(module):
    """Return (images that only the toolkit's containers use, names of the containers of others)."""
    ours, others, bystanders = set(), set(), []
    for line in docker(module, "ps --all", '{{.Image}} {{.Names}} {{.Label "com.docker.compose.project"}}'):
        image, name, project = (line + " ").split(" ")[:3]
        if project == PROJECT:
            ours.add(image)
        else:
            others.add(image)
            bystanders.append(name)
    return sorted(ours - others), sorted(bystanders)


def unused_images(module, repositories):
    """Return the images of these repositories that no container uses, running or not."""
    used = set(docker(module, "ps --all", "{{.Image}}"))
    there = docker(module, "image ls", "{{.Repository}}:{{.Tag}}")
    named = {name for name in there if not name.endswith(":<none>")}
    return sorted(name for name in named - used if name.rpartition(":")[0] in repositories)


def project_names(module, kind):
    """Return the `volumes` (as in the compose file) or `images` that services placed on this node name."""
    if not os.path.isfile(os.path.join(STACK_ROOT, "compose.yaml")):
        return set()
    return set(docker(module, "compose --project-directory %s --profile * config --%s" % (STACK_ROOT, kind)))


def leftovers(module, params):
    """Return what nothing uses any more, in the shape of RETURN; a service may be down for an hour."""
    unused = set(docker(module, "volume ls --quiet --filter dangling=true"))
    volumes = {name: short for name, short in owned_volumes(module).items() if name in unused}
    wanted = project_names(module, "volumes")
    kept = kept_volumes(volumes, params["keep_data"], params["keep_models"])
    kept = sorted(set(kept) | {name for name, short in volumes.items() if short in wanted})
    untouched = ("containers", "networks", "files", "shared", "units", "packages", "bystanders")
    images = set(unused_images(module, params["repositories"])) - project_names(module, "images")
    # To which playbooks/rollback.yml goes back.
    images -= {one["image"].partition("@")[0] for one in node_state.read_state()["before"].values()}
    return dict(
        {kind: [] for kind in untouched},
        volumes=sorted(set(volumes) - set(kept)),
        kept=kept,
        images=sorted(images),
    )


def survey(module, params):
    """Return what is there; see RETURN."""
    state = node_state.read_state()
    volumes = owned_volumes(module)
    kept = kept_volumes(volumes, params["keep_data"], params["keep_models"])
    images, bystanders = image_lists(module)
    # An engine that stays gets its updates from where it came.
    ours = state["files"] + ([] if bystanders else state["sources"])
    files = sorted(path for path in ours if is_there(path))
    return {
        "containers": docker(module, "ps --all --filter label=" + LABEL, "{{.Names}}"),
        "networks": docker(module, "network ls --filter label=" + LABEL, "{{.Name}}"),
        "volumes": sorted(set(volumes) - set(kept)),
        "kept": kept,
        "images": sorted(images + unused_images(module, params["repositories"])),
        "files": files,
        "shared": sorted(path for path in state["fragments"] if os.path.isfile(path)),
        "units": sorted(os.path.basename(path) for path in files if os.path.dirname(path) == UNITS),
        "packages": sorted(name for name in state["packages"] if not (bystanders and name in ENGINE)),
        "bystanders": bystanders,
    }


def remove(module, found):
    """Remove what the survey found."""

    def must(command):
        code, out, err = module.run_command(command)
        if code:
            module.fail_json(msg="`%s` failed: %s. Run the cleanup again." % (" ".join(command), err or out))

    for kind, command in REMOVALS:
        if found[kind]:
            must(command.split() + found[kind])
    for path in found["files"]:
        os.unlink(path)
        remove_metrics(path)
        remove_empty_parents(path)
    if found["units"]:
        must(["systemctl", "daemon-reload"])


def remove_folders(module):
    """Remove the toolkit's folders but for what remembers it."""
    for folder in (STACK_ROOT, RUN_FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            module.fail_json(
                msg="%s cannot be removed. Look at it, remove it, run the cleanup again." % folder
            )


def main():
    """Survey, and remove unless in check mode."""
    module = AnsibleModule(
        argument_spec={
            "keep_data": {"type": "bool", "default": False},
            "keep_models": {"type": "bool", "default": False},
            "repositories": {"type": "list", "elements": "str", "default": []},
            "leftovers": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    everything = not module.params["leftovers"]
    found = (survey if everything else leftovers)(module, module.params)
    folders = (STACK_ROOT, os.path.dirname(node_state.STATE_FILE))
    there = everything and any(os.path.isdir(folder) for folder in folders)
    gone = [kind for kind, _ in REMOVALS] + ["files", "shared"]
    changed = there or any(found[kind] for kind in gone)
    if changed and not module.check_mode:
        remove(module, found)
        if everything:
            remove_folders(module)
    module.exit_json(changed=bool(changed), **found)


if __name__ == "__main__":
    main()

"""The lab's images: built from packages where no registry answers, else pulled."""

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from .base_image import HASH_LABEL, PUBLIC_BASE, base_hash, make_base
from .context import context
from .errors import LabError
from .parallel import in_parallel
from .progress import Progress

BASE = "aicluster-lab/base:latest"
NODE = "aicluster-lab/node:latest"
REGISTRY = "aicluster-lab/registry:latest"
MODES = ("pull", "build")
Names = tuple[str, str]
"""A catalogue image, and the local tag it gets."""
# Built wherever the lab runs: the official Ollama would pull the site's models, tens of gigabytes; the real
# ComfyUI is for a Jetson only.
ALWAYS_BUILT = ("ollama/ollama", "dustynv/comfyui")
PROBE_TIMEOUT_S = 8
# Builds wait for the network and the disk half of their time; who takes longest begins first.
BUILDS_AT_ONCE = 3
SLOWEST = ("minio", "ollama", "jupyterhub", "victoria-logs", "pgadmin4", "node", "redis-commander")
PARENT = re.compile(r"^FROM aicluster-lab/(?!base\b)([\w-]+)", re.MULTILINE)
LOG_TAIL = 30
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Recipe:
    """An image this project can build: the tag it gets, and its folder with a Dockerfile."""

    tag: str
    folder: Path


def choose_mode(wanted: str, reachable: Callable[[], bool]) -> str:
    """`pull` or `build`: as wanted, else by whether a public registry can be reached."""
    if wanted and wanted not in MODES:
        raise LabError(f"AICLUSTER_LAB_IMAGES is `{wanted}`; it must be one of {', '.join(MODES)}, or unset.")
    return wanted or ("pull" if reachable() else "build")


def registry_reachable() -> bool:
    """Can the engine see an image in a public registry? Asked through it: its proxy and mirrors count."""
    try:
        docker.from_env(timeout=PROBE_TIMEOUT_S).images.get_registry_data(PUBLIC_BASE)
    except (DockerException, OSError):
        return False
    return True


def recipe_for(root: Path, image: str, tag: str, *, full: bool = False) -> Recipe:
    """Recipe of a catalogue image such as `ollama/ollama:0.32.15`: the folder named like its last component.

    `full` prefers the real program where it is too heavy for every day.
    """
    name = image.rpartition("/")[2].partition(":")[0]
    for parent in ("full", "images", "standins") if full else ("images", "standins"):
        folder = root / "lab" / parent / name
        if (folder / "Dockerfile").exists():
            return Recipe(tag, folder)
    raise LabError(
        f"The image {image} of the service catalogue cannot be built: it has no lab/images/{name}/Dockerfile "
        f"and no lab/standins/{name}/Dockerfile. Add one, or use a machine that reaches a registry "
        "(AICLUSTER_LAB_IMAGES=pull)."
    )


def parents(folder: Path) -> list[str]:
    """Folders of lab/images that a recipe's image is built on, beside the base."""
    return sorted(set(PARENT.findall((folder / "Dockerfile").read_text())))


def content_hash(folder: Path, *inherited: str) -> str:
    """Hash of what the engine is sent to build a recipe, and of what its image is built on."""
    return sha256("\0".join(inherited).encode() + context(folder)).hexdigest()[:16]


def divide(mode: str, services: list[Names]) -> tuple[list[Names], list[Names]]:
    """Return which of the images are built and which are pulled."""
    built = [one for one in services if mode == "build" or one[0].rpartition(":")[0] in ALWAYS_BUILT]
    return built, [one for one in services if one not in built]


def order(recipe: Recipe) -> int:
    """Return who begins first: who takes longest."""
    name = recipe.folder.name
    return SLOWEST.index(name) if name in SLOWEST else len(SLOWEST)


class Workshop:
    """Makes images on one engine. An image whose label carries the hash of its recipe is left alone."""

    def __init__(self, client: docker.DockerClient, root: Path, mode: str, progress: Progress) -> None:
        """Make the images of the checkout `root`, in one of MODES."""
        self._client = client
        self._root = root
        self._mode, self._base = mode, base_hash(mode)
        self._scratch = root / ".lab" / "build"
        self._progress = progress
        # What several images are built on is built by the first of them.
        self._one_at_a_time = {folder.name: Lock() for folder in (root / "lab" / "images").iterdir()}

    def make_own(self, name: str) -> None:
        """Bring the base and one image of the lab's own up to date."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        if self._label(BASE) != self._base:
            with self._progress.step(f"image base ({self._mode})") as step:
                make_base(self._client, self._mode, BASE, self._scratch, step)
        self._renew(self._own(name))

    def make(self, services: list[Names], made: Callable[[str], None]) -> None:
        """Bring the node's image and those of services up to date.

        `made` is told each service's at once. The base is there; see make_own.
        """
        built, pulled = divide(self._mode, services)
        full = bool(os.environ.get("AICLUSTER_LAB_FULL"))
        recipes = {image: recipe_for(self._root, image, tag, full=full) for image, tag in built}
        recipes[NODE] = self._own("node")

        def bring(image: str) -> None:
            self._renew(recipes[image])
            if image != NODE:
                made(image)

        def fetch(names: Names) -> None:
            self._pull(*names)
            made(names[0])

        in_parallel(BUILDS_AT_ONCE, bring, sorted(recipes, key=lambda image: order(recipes[image])))
        in_parallel(BUILDS_AT_ONCE, fetch, pulled)

    def _own(self, name: str) -> Recipe:
        return Recipe(f"aicluster-lab/{name}:latest", self._root / "lab" / "images" / name)

    def _hash(self, recipe: Recipe) -> str:
        shared = (self._hash(self._own(name)) for name in parents(recipe.folder))
        return content_hash(recipe.folder, self._base, *shared)

    def _renew(self, recipe: Recipe) -> None:
        """Build what is not made of its recipe as it is now, after what it is built on."""
        if self._label(recipe.tag) == self._hash(recipe):
            return
        for name in parents(recipe.folder):
            with self._one_at_a_time[name]:
                self._renew(self._own(name))
        self._build(recipe)

    def _label(self, tag: str) -> str | None:
        """Recipe hash of a local image: an empty text for one made elsewhere, None for a missing one."""
        try:
            return str((self._client.images.get(tag).labels or {}).get(HASH_LABEL, ""))
        except ImageNotFound:
            return None

    def _pull(self, image: str, tag: str) -> None:
        if self._label(tag) == "":
            return
        with self._progress.step(f"image {image} (pull)") as step:
            name, version = image.rsplit(":", 1)
            for line in self._client.api.pull(name, version, stream=True, decode=True):
                if "error" in line:
                    raise LabError(f"The image {image} cannot be pulled: {line['error']}")
                step.note(f"{line.get('status', '')} {line.get('progress', '')}".strip()[:60])
            repository, version = tag.rsplit(":", 1)
            self._client.images.get(image).tag(repository, version)

    def _build(self, recipe: Recipe) -> None:
        log = self._scratch / f"{recipe.folder.name}.log"
        previous = self._client.images.list(name=recipe.tag)
        with self._progress.step(f"image {recipe.folder.name}") as step, log.open("w") as output:
            for line in self._client.api.build(
                fileobj=io.BytesIO(context(recipe.folder)),
                custom_context=True,
                tag=recipe.tag,
                labels={HASH_LABEL: self._hash(recipe)},
                buildargs={name: os.environ[name] for name in PROXIES if name in os.environ},
                rm=True,
                forcerm=True,
                decode=True,
            ):
                text = line.get("stream", "")
                output.write(text)
                if text.startswith("Step "):
                    step.note(text.strip()[:60])
                if "error" in line:
                    output.write(line["error"])
                    output.flush()
                    tail = "\n".join(log.read_text().splitlines()[-LOG_TAIL:])
                    raise LabError(
                        f"The image {recipe.tag} ({recipe.folder}) does not build; log {log}:\n{tail}"
                    )
        for image in previous:
            try:
                self._client.images.remove(str(image.id))
            except APIError:  # a container that is about to be recreated still holds it
                continue

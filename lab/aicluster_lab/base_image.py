"""The image every other one starts from: Debian, pulled, or made from packages where no registry answers."""

import io
import os
import shutil
import subprocess
import urllib.request
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import docker

from .context import context
from .engine import install_missing
from .errors import LabError
from .progress import Step

SUITE = "trixie"
PUBLIC_BASE = "debian:trixie-slim"
MIRROR_TIMEOUT_S = 10
HASH_LABEL = "aicluster.lab.hash"
LOG_TAIL = 20
UMASK = 0o022  # of what makes the base: users of an image read what root put there

# What a throw-away image does not need: syncing to disk after each package, documentation, translations.
DPKG_OPTIONS = """force-unsafe-io
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
"""
APT_OPTIONS = """Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
"""
# What apt downloads and computes is half of an image otherwise.
CLEAN_OPTIONS = """APT::Keep-Downloaded-Packages "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
# What recipes install with.
INSTALLER = "usr/local/sbin/add-packages"
INSTALL = """#!/bin/sh
set -e
apt-get update
apt-get install -y --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/*
"""

# Where Debian keeps authorities its administrator added, for instance that of a proxy that reads along.
AUTHORITIES = Path("/usr/local/share/ca-certificates")


def authorities() -> list[Path]:
    """Certificates this machine trusts beyond the distribution's: builds meet the same proxies as it does."""
    return sorted(AUTHORITIES.rglob("*.crt"))


def base_hash(mode: str) -> str:
    """Hash of what the base image is made of, for `pull` or `build`."""
    trusted = (path.read_text() for path in authorities())
    parts = (mode, SUITE, PUBLIC_BASE, DPKG_OPTIONS, APT_OPTIONS, CLEAN_OPTIONS, INSTALL, *trusted)
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


def make_base(client: docker.DockerClient, mode: str, tag: str, scratch: Path, step: Step) -> None:
    """Make the base image under `tag`, labelled with its hash. `scratch` is a folder this may use."""
    if mode == "pull":
        client.images.pull(PUBLIC_BASE)
        folder = scratch / "pulled"
        (folder / "authorities").mkdir(parents=True, exist_ok=True)
        for path in authorities():
            shutil.copy(path, folder / "authorities")
        _write(folder / "add-packages", INSTALL, 0o755)
        (folder / "Dockerfile").write_text(
            f"FROM {PUBLIC_BASE}\n"
            f"COPY add-packages /{INSTALLER}\n"
            "RUN add-packages ca-certificates\n"
            f"COPY authorities {AUTHORITIES}\n"
            "RUN update-ca-certificates\n"
        )
        client.images.build(
            fileobj=io.BytesIO(context(folder)),
            custom_context=True,
            tag=tag,
            labels={HASH_LABEL: base_hash(mode)},
            rm=True,
        )
        return
    if os.geteuid():
        raise LabError(
            "No container registry answers, and only root can make the base image from Debian packages "
            "(debootstrap). Run this as root once, or make a registry reachable (AICLUSTER_LAB_IMAGES=pull)."
        )
    install_missing(("debootstrap",))
    target = scratch / "base"
    remove_root(target)  # what an interrupted run left, and may have left mounted
    target.mkdir(parents=True)
    target.chmod(0o755)
    try:
        _debootstrap(target, scratch / "debootstrap.log", step)
        for path in authorities():
            shutil.copy(path, target / AUTHORITIES.relative_to("/"))
        subprocess.run(
            ["chroot", str(target), "update-ca-certificates"], check=True, capture_output=True, umask=UMASK
        )
        step.note("importing into the engine")
        _import(client, target, tag, base_hash(mode))
    finally:
        remove_root(target)


def _answering_mirror() -> str:
    """This machine's own mirror if it has the suite; an empty text lets debootstrap take its default."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    uris = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for mirror in [uri for uri in dict.fromkeys(uri.rstrip("/") for uri in uris) if uri.endswith("/debian")]:
        with suppress(OSError):  # urllib's errors are of this kind; debootstrap will say if none answers
            urllib.request.urlopen(f"{mirror}/dists/{SUITE}/InRelease", timeout=MIRROR_TIMEOUT_S).close()
            return mirror
    return ""


def _debootstrap(target: Path, log: Path, step: Step) -> None:
    command = [
        "debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(target),
        _answering_mirror(), "/usr/share/debootstrap/scripts/sid",
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, umask=UMASK
        )
        assert process.stdout is not None
        for line in process.stdout:
            output.write(line)
            step.note(line.removeprefix("I: ").strip())
    if process.wait():
        tail = "\n".join(log.read_text().splitlines()[-LOG_TAIL:])
        raise LabError(f"debootstrap {SUITE} failed; its log is {log}:\n{tail}")
    _write(target / "etc/dpkg/dpkg.cfg.d/lab", DPKG_OPTIONS)
    _write(target / "etc/apt/apt.conf.d/90lab", APT_OPTIONS)
    # Under the name it has in Debian's own images.
    _write(target / "etc/apt/apt.conf.d/docker-clean", CLEAN_OPTIONS)
    _write(target / INSTALLER, INSTALL, 0o755)
    documentation = ("usr/share/doc", "usr/share/man", "usr/share/locale")
    for excess in (*documentation, "var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(target / excess, ignore_errors=True)
        (target / excess).mkdir()
        (target / excess).chmod(0o755)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def _import(client: docker.DockerClient, target: Path, tag: str, label: str) -> None:
    command = ["tar", "--numeric-owner", "-C", str(target), "-c", "."]
    archive = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    repository, _, name = tag.rpartition(":")
    changes = ['CMD ["/bin/bash"]', f"LABEL {HASH_LABEL}={label}"]
    client.api.import_image_from_data(archive, repository, name, changes)


def remove_root(path: Path) -> None:
    """Remove a folder debootstrap worked in, first unmounting what it mounted there."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{path}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    if path.exists():
        shutil.rmtree(path)

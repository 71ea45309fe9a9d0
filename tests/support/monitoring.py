"""The programs of Prometheus and Alertmanager, as the services' own images have them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from aicluster_lab.registry import local_tag, published_port
from tree import ROOT, catalogue

# Programs of each service's image.
PROGRAMS = {"prometheus": ("promtool",), "alertmanager": ("alertmanager", "amtool")}
RULES = ROOT / "roles/prometheus/templates/opt/aicluster/prometheus/rules"


def images(service: str) -> list[str]:
    """Return the tags the image of a service may have on this machine: the lab's build, the public one."""
    image = str(catalogue()[service]["image"])
    return [local_tag(image, published_port()), image]


@cache
def image_here(service: str) -> str | None:
    """Return the first of these tags that exists; None where there is no engine, too."""
    if shutil.which("docker") is None:
        return None
    for tag in images(service):
        if not subprocess.run(
            ["docker", "image", "inspect", tag], capture_output=True, check=False
        ).returncode:
            return tag
    return None


def succeeds(service: str, script: str, folder: Path = ROOT) -> str:
    """Return what a shell script prints in `folder`, with the programs of a service's image or those on PATH.

    The image comes first: it has the version that will run. Inside it nothing but `folder` and this project
    is seen, read-only, and no network. RuntimeError where the programs are nowhere, AssertionError with all
    that was printed where the script fails.
    """
    tag = image_here(service)
    command = ["sh", "-euc", script]
    if tag:
        mounts = [f"--volume={path}:{path}:ro" for path in {ROOT, folder}]
        run = ["docker", "run", "--rm", "--network=none", "--tmpfs=/tmp:mode=1777", *mounts]
        run += [f"--user={os.getuid()}:{os.getgid()}", f"--workdir={folder}", "--entrypoint=sh", tag]
        command = [*run, *command[1:]]
    elif missing := [program for program in PROGRAMS[service] if shutil.which(program) is None]:
        raise RuntimeError(
            f"{', '.join(missing)}: neither on PATH nor in an image {' or '.join(images(service))}. "
            "`make lab` builds the image; on Debian: apt-get install prometheus prometheus-alertmanager"
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def answers(expr: str, series: Mapping[str, float], samples: Mapping[str, float], folder: Path) -> None:
    """Have promtool compare what an expression makes of series with samples (labels -> value)."""
    expected = [{"labels": labels, "value": value} for labels, value in samples.items()]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": str(value)} for name, value in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": "0m", "exp_samples": expected}],
    }
    (folder / "test.yml").write_text(yaml.safe_dump({"tests": [test]}, width=10_000))
    succeeds("prometheus", "promtool test rules test.yml", folder)

"""Every run renders a site to the same bytes: else each would change files and restart what reads them."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import tree

DIGESTS = """
import hashlib, json
from render import cluster, files_of
print(json.dumps({
    f"{node['name']} {service} {file.path}": hashlib.sha256(file.content).hexdigest()
    for node in cluster("production")
    for service in node["services"]
    for file in files_of(service, host=node["host"])
}))
"""


def digests(seed: int) -> dict[str, str]:
    """(node, service, file) -> digest, as a run finds them whose sets have this order."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", DIGESTS]
    printed = subprocess.run(
        program, cwd=tree.ROOT, env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    found: dict[str, str] = json.loads(printed)
    return found


def test_two_runs_render_the_same_bytes_whatever_order_sets_have_in_them():
    with ThreadPoolExecutor() as side_by_side:
        one, other = side_by_side.map(digests, (1, 2))
    assert one.keys() == other.keys()
    assert [name for name, digest in one.items() if other[name] != digest] == []

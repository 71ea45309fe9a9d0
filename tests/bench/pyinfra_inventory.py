"""The nodes of BENCH_NODES for pyinfra."""

import json
import os
from pathlib import Path

nodes = [
    (
        node["host"],
        {
            "ssh_user": node["user"],
            "ssh_key": node["key"],
            "ssh_known_hosts_file": node["known_hosts"],
            "_sudo": True,
            "node": node,
        },
    )
    for node in json.loads(Path(os.environ["BENCH_NODES"]).read_text())
]

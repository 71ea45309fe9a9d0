"""The lab: seven nodes on one machine, each a container with systemd, sshd and its own Docker Engine."""

import sys
from pathlib import Path

# What a catalogue and a placement mean has one address: the playbooks' own filters.
sys.path.append(str(Path(__file__).resolve().parents[2] / "filter_plugins"))

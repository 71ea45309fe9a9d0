"""What holds for every unit test, however it is started."""

import os
import sys
from pathlib import Path

from hypothesis import settings

# A busy machine makes no test fail.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
# Some start Ansible by name, as its users do: the one beside this Python.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

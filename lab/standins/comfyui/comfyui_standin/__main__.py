"""The command line, as `main.py` of ComfyUI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aiohttp import web

from . import VERSION
from .cli_args import parser
from .jobs import Folders, Jobs
from .server import Api


def main() -> None:
    """Serve until told to stop."""
    options = parser().parse_args()
    jobs = Jobs(Folders(Path.cwd()), float(os.environ.get("STANDIN_JOB_SECONDS", "1")))
    api = Api(jobs, "cpu" if options.cpu else "cuda", sys.argv)
    print(f"STAND-IN for ComfyUI {VERSION} listening on {options.listen}:{options.port}", flush=True)
    web.run_app(api.application(), host=options.listen, port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()

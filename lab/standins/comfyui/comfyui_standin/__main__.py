"""The command line, as `main.py` of ComfyUI."""

from pathlib import Path

from aiohttp import web

from .cli_args import parser
from .server import Api


def main() -> None:
    """Serve until told to stop."""
    options = parser().parse_args()
    api = Api(Path.cwd(), "cpu" if options.cpu else "cuda")
    print(f"STAND-IN for ComfyUI listening on {options.listen}:{options.port}", flush=True)
    web.run_app(api.application(), host=options.listen, port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()

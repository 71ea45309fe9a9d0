"""Serve with the settings of `conf/sonar.properties`; without its database it ends, as SonarQube does."""

import asyncio
import os
import sys
from pathlib import Path

import psycopg
from aiohttp import web

from .database import DELIVERED, Database
from .properties import properties
from .server import application


def main() -> None:
    """Serve until told to stop."""
    path = Path(os.environ["SONARQUBE_HOME"]) / "conf" / "sonar.properties"
    try:
        settings = properties(path.read_text())
        url, user, password = (settings[f"sonar.jdbc.{name}"] for name in ("url", "username", "password"))
        database = Database(url.removeprefix("jdbc:"), user, password)
        asyncio.run(database.ask(DELIVERED))
        app = application(database, settings["sonar.web.systemPasscode"])
        port = int(settings["sonar.web.port"])
    except (OSError, ValueError, KeyError, psycopg.Error) as problem:
        sys.exit(f"STAND-IN for SonarQube: cannot start: {problem}")
    print(f"STAND-IN for SonarQube listening on {port}", flush=True)
    web.run_app(app, port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()

"""Serve with the settings of `conf/sonar.properties`; without its database it ends, as SonarQube does."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

from . import VERSION
from .postgres import PostgresStore
from .properties import Database, properties
from .server import Api
from .store import DatabaseError


def main() -> None:
    """Serve until told to stop."""
    path = Path(os.environ.get("SONARQUBE_HOME", "/opt/sonarqube")) / "conf" / "sonar.properties"
    try:
        settings = properties(path.read_text())
        store = PostgresStore(Database.of(settings))
        asyncio.run(store.prepare())
    except (OSError, ValueError, DatabaseError) as problem:
        sys.exit(f"STAND-IN for SonarQube: cannot start: {problem}")
    port = int(settings.get("sonar.web.port", "9000"))
    api = Api(store, settings.get("sonar.web.systemPasscode", ""))
    print(f"STAND-IN for SonarQube {VERSION} listening on {port}", flush=True)
    web.run_app(api.application(), port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()

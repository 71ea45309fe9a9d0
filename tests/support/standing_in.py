"""The lab's stand-ins without their images: made for a test, and asked by it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import render
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from standins.comfyui.comfyui_standin.jobs import Jobs
from standins.comfyui.comfyui_standin.server import Api as ComfyUI
from standins.grafana.grafana_standin.server import Api as Grafana
from standins.grafana.grafana_standin.settings import settings_of
from standins.postgrest.postgrest_standin.api import LostError, database_error
from standins.postgrest.postgrest_standin.server import Admin, State
from standins.postgrest.postgrest_standin.server import Api as PostgREST
from standins.sonarqube.sonarqube_standin.server import Api as SonarQube
from standins.sonarqube.sonarqube_standin.store import DatabaseError, hashed

CHECKPOINT = "sd_xl_base_1.0.safetensors"
PASSWORD, PASSCODE = "A-good-Password-1", "open"
GRAFANA = "/opt/aicluster/grafana/"
# Which Grafana is which: the operators' has a login, the gateway's visitors and a path of its own.
OPERATORS, GATEWAY = "192.168.1.204", "192.168.1.147"


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    text: str
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


def talk(application: web.Application, conversation: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return what a conversation with a stand-in returns; it is given a client."""

    async def run() -> Any:
        async with TestClient(TestServer(application)) as client:
            return await asyncio.wait_for(conversation(client), 20)

    return asyncio.run(run())


def ask(application: web.Application, path: str, method: str = "GET", **more: Any) -> Said:
    """Return the answer to one request."""

    async def conversation(client: Any) -> Said:
        answer = await client.request(method, path, allow_redirects=False, **more)
        return Said(answer.status, await answer.text(), answer.headers)

    said: Said = talk(application, conversation)
    return said


# --- what stands in for what ---


def comfyui(folder: Path, seconds: float = 0.02, device: str = "cpu") -> web.Application:
    """A ComfyUI whose files are in this folder."""
    for name in ("output", "temp", "models/checkpoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "models/checkpoints" / CHECKPOINT).write_bytes(b"made up")
    return ComfyUI(Jobs(folder, seconds), device).application()


class Users:
    """SonarQube's store without PostgreSQL; `lost` is a database that does not answer."""

    def __init__(self, password: str = PASSWORD, lost: bool = False) -> None:
        self.secrets = {"admin": hashed(password, b"0" * 16)}
        self.kept: dict[str, str] = {}
        self.lost = lost

    async def ping(self) -> None:
        if self.lost:
            raise DatabaseError("connection refused")

    async def secret_of(self, login: str) -> bytes | None:
        await self.ping()
        return self.secrets.get(login)

    async def keep_secret(self, login: str, secret: bytes) -> None:
        self.secrets[login] = secret

    async def projects(self) -> dict[str, str]:
        return self.kept

    async def add_project(self, key: str, name: str) -> bool:
        new = key not in self.kept
        self.kept.setdefault(key, name)
        return new

    async def delete_project(self, key: str) -> bool:
        return self.kept.pop(key, None) is not None


def sonarqube(store: Users | None = None) -> web.Application:
    """A SonarQube with this store."""
    return SonarQube(store or Users(), PASSCODE).application()


class Relations:
    """PostgREST's database without PostgreSQL; `problem` is what it answers instead."""

    def __init__(self, problem: Exception | None = None, said: Sequence[str] = ("",)) -> None:
        self.problem, self.said = problem, said
        self.read = 0

    async def schema(self) -> frozenset[str]:
        self.read += 1
        return frozenset({"health", "hidden"})

    async def changes(self) -> Any:
        for said in self.said:
            yield said
        raise self.problem or LostError("gone")

    async def rows(self, relation: str) -> str:
        if self.problem:
            raise self.problem
        if relation == "hidden":
            raise database_error("42501", "permission denied for view hidden")
        return '[{"database":"aicluster","version":"17"}]'


def postgrest(problem: Exception | None = None, **state: Any) -> dict[str, web.Application]:
    """Port -> server of a PostgREST that is connected and has read its schema, but for `state`."""
    store = Relations(problem)
    here = State(store)
    here.schema, here.connected = frozenset({"health", "hidden"}), True
    vars(here).update(state)
    return {"api": PostgREST(store, here).application(), "admin": Admin(here).application()}


def provisioned(folder: Path, host: str = OPERATORS) -> Path:
    """Put what the role ships to a node with Grafana into a folder."""
    for path, text in render.render_role("grafana", host=host).items():
        if path.startswith((f"{GRAFANA}provisioning/", f"{GRAFANA}dashboards/")):
            file = folder / path.removeprefix(GRAFANA)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("/etc/aicluster/dashboards", str(folder / "dashboards")))
    (folder / "data").mkdir(exist_ok=True)
    return folder


def grafana(folder: Path, host: str = OPERATORS, **more: str) -> web.Application:
    """A Grafana with the files of a folder, as the role configures that of a node."""
    shipped = render.compose_of("grafana", host=host)["services"]["grafana"]["environment"]
    here = {"GF_PATHS_DATA": folder / "data", "GF_PATHS_PROVISIONING": folder / "provisioning"}
    variables = shipped | {name: str(path) for name, path in here.items()}
    return Grafana(settings_of(variables | {"GF_SECURITY_ADMIN_PASSWORD": PASSWORD} | more)).application()

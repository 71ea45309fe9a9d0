"""A kit for checks whose answers are written down: what services say, commands print, secrets are."""

from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any

from aicluster_verify import Answer, Broken, Kit
from by_path import import_file

ADDRESS = "192.0.2.9"
# What is said to one request; a function gets the body, the headers and decides.
Said = tuple[int, str | bytes] | Callable[[Any, Mapping[str, str]], tuple[int, str | bytes, dict[str, str]]]


def check_of(service: str) -> Any:
    """The module of a service's check."""
    return import_file(f"roles/{service}/templates/opt/aicluster/checks/{service}.py", f"check_{service}")


class ScriptedKit(Kit):
    """Answers by `METHOD /path`, the query left out; `commands` by the last word of the command."""

    def __init__(
        self,
        service: str,
        port: str = "web",
        answers: Mapping[str, Said] | None = None,
        commands: Mapping[str, str | Broken] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """One service with one port."""
        ports = {port: {"port": 80, "container": 80, "published": ADDRESS}}
        super().__init__({"node": "ORIN0", "services": {service: {"ports": ports}}, "cluster": []}, "run-1")
        self.answers, self.commands, self.secrets = (
            dict(answers or {}),
            dict(commands or {}),
            dict(secrets or {}),
        )
        self.asked: list[str] = []
        self.longest_s = 0.0

    def http(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10,
    ) -> Answer:
        """Return what is written down for this request; Broken where nothing listens."""
        path = url.split(":80", 1)[1]
        self.asked.append(f"{method} {path}")
        self.longest_s = max(self.longest_s, timeout)
        said = self.answers.get(f"{method} {path.partition('?')[0]}")
        if said is None:
            raise Broken(f"{method} {url}: connection refused")
        status, body, extra = said(data, headers or {}) if callable(said) else (*said, {})
        sent = Message()
        for name, value in extra.items():
            sent[name] = value
        return Answer(status, sent, body.encode() if isinstance(body, str) else body)

    def execute(self, _service: str, argv: Sequence[str], _stdin: str | None = None) -> str:
        """Return what a command prints, or raise what it fails with."""
        said = self.commands[Path(argv[-1]).name if argv[-1].startswith("/") else argv[-1]]
        if isinstance(said, Broken):
            raise said
        return said

    def secret(self, _service: str, name: str) -> str:
        """Return a secret."""
        return self.secrets[name]

    def wait(self, seconds: float, ask: Callable[[], Any], what: str) -> Any:
        """Ask once: nobody waits in a test."""
        if answer := ask():
            return answer
        raise Broken(f"{what} (waited {seconds:g} s)")

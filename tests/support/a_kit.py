"""A kit of `verify` whose node and network are tables: what is answered, printed and kept secret."""

import json
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from aicluster_verify import STARTTLS, Answer, CheckError, Kit, Seen, lasting
from by_path import import_file

ADDRESS = "192.0.2.9"
# Status, body (JSON unless it is text or bytes), headers as pairs; a function gets the body and headers sent.
Said = tuple[Any, ...] | CheckError | Callable[[Any, Mapping[str, str]], tuple[Any, ...] | CheckError]
# An answer that does not come in time, as urllib tells it: see test_verify_runner.py.
SLOW = CheckError("GET http://192.0.2.9/: timed out")
# Only a function takes what goes in by standard input.
Printed = str | CheckError | Callable[[Sequence[str], str | None], str]


@cache
def check_of(service: str) -> Any:
    return import_file(f"roles/{service}/templates/opt/aicluster/checks/{service}.py", f"check_{service}")


def site(
    node: str, services: Mapping[str, Mapping[str, int]], cluster: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """A site as Kit knows it, of service -> port -> number."""
    published = {
        service: {
            "ports": {
                port: {"port": number, "container": number, "published": ADDRESS}
                for port, number in ports.items()
            }
        }
        for service, ports in services.items()
    }
    return {"node": node, "services": published, "cluster": list(cluster)}


def failure_of(check: Callable[[Any], Any], kit: Kit) -> CheckError:
    with pytest.raises(CheckError) as caught:
        check(kit)
    return caught.value


def in_turn(*said: Any) -> Callable[..., Any]:
    """Say one after the other, the last for ever."""
    left = list(said)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


class ScriptedKit(Kit):
    """Answers from tables; nothing listens, and nothing is to be run, where they say nothing.

    `answers`: by `METHOD /path`, or `METHOD URL` where the port matters, without the query; None for nobody.
    `commands`: by a pattern of the command line, that of a container after `service: `; the first that fits.
    `secrets`: by `service/name`.
    """

    def __init__(
        self,
        site: Mapping[str, Any],
        answers: Mapping[str, Said | None] | None = None,
        commands: Mapping[str, Printed] | None = None,
        secrets: Mapping[str, str] | None = None,
        together: Sequence[str] = (),
    ) -> None:
        """`asked`: every request, with its query, and every command; `waited`: how often in vain."""
        super().__init__(site, "run-1", together)
        self.answers, self.commands, self.secrets = answers or {}, commands or {}, secrets or {}
        self.asked: list[str] = []
        self.waited = 0

    def http(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10,
    ) -> Answer:
        assert timeout <= max(30, self.left() + 1) and (method != "GET" or data is None)
        path = "/" + url.split("/", 3)[3]
        self.asked.append(f"{method} {path}")
        keys = [f"{method} {place.partition('?')[0]}" for place in (path, url)]
        said = next((self.answers[key] for key in keys if key in self.answers), None)
        if said is None:
            raise CheckError(f"{method} {url}: connection refused", f"curl -v '{url}'")
        answer = said(data, headers or {}) if callable(said) else said
        if isinstance(answer, CheckError):
            raise CheckError(answer.evidence, answer.next_command)
        status, body, *pairs = answer
        sent = Message()
        for name, value in pairs:
            sent[name] = value
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return Answer(status, sent, text.encode() if isinstance(text, str) else text)

    def run(self, argv: Sequence[str], stdin: str | None = None, timeout: float = 60) -> str:
        assert timeout <= 60
        return self.printed("", argv, stdin)

    def execute(self, service: str, argv: Sequence[str], stdin: str | None = None) -> str:
        return self.printed(f"{service}: ", argv, stdin)

    def printed(self, place: str, argv: Sequence[str], stdin: str | None) -> str:
        line = place + " ".join(argv)
        self.asked.append(line)
        said = next((said for like, said in self.commands.items() if fnmatchcase(line, like)), None)
        assert said is not None, f"nothing was to be run as {line}"
        if callable(said):
            return said(argv, stdin)
        assert stdin is None
        if isinstance(said, CheckError):
            raise said
        return said

    def certificate(self, service: str, port: str, seen: Seen, starttls: str = "") -> Seen:
        """As of one that is good."""
        assert starttls in ("", *STARTTLS) and self.services[service]["ports"][port]["published"]
        return lasting(seen, 90)

    def secret(self, service: str, name: str) -> str:
        return self.secrets[f"{service}/{name}"]

    def wait(self, seconds: float, ask: Callable[[], Any], what: str) -> Any:
        """Ask a few times: no test waits."""
        for _ in range(5):
            if answer := ask():
                return answer
            self.waited += 1
        raise CheckError(f"{what} (waited {seconds:g} s)")

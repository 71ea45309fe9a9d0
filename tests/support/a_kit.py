"""A kit of `verify` whose node and network are made up: what a check is told is a table."""

from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from typing import Any

from aicluster_verify import Answer, Broken, Kit, load_check, told
from tree import ROOT


def check_of(service: str) -> Callable[[Kit], str]:
    """The function `check` a service brings to the node, less a warning it may have."""
    check = load_check(service, str(ROOT / f"roles/{service}/templates/opt/aicluster/checks"))
    return lambda kit: told(check(kit))["evidence"]


class MadeUpKit(Kit):
    """Answers by the beginning of a URL's path, and of a command line; anything else is unreachable."""

    def __init__(self, site: Mapping[str, Any], run_id: str = "run-1", together: Sequence[str] = ()) -> None:
        """`site` as Kit knows it. `pages`: path -> (status, body); `commands`: command line -> stdout."""
        super().__init__(site, run_id, together)
        self.pages: dict[str, tuple[int, str]] = {}
        self.commands: dict[str, str] = {}
        self.asked: list[str] = []

    def http(self, url: str, *_more: Any, **_named: Any) -> Answer:
        """Look the path up."""
        self.asked.append(url)
        path = "/" + url.split("/", 3)[3]
        for start, (status, body) in self.pages.items():
            if path.startswith(start):
                return Answer(status, Message(), body.encode())
        raise Broken(f"{url}: connection refused", "curl")

    def run(self, argv: Sequence[str], *_more: Any, **_named: Any) -> str:
        """Look the command line up."""
        line = " ".join(argv)
        return next(said for start, said in self.commands.items() if line.startswith(start))

    def wait(self, seconds: float, ask: Callable[[], Any], what: str) -> Any:
        """Ask once, without the waiting."""
        answer = ask()
        if not answer:
            raise Broken(f"{what} (waited {seconds:g} s)")
        return answer


def site(node: str, service: str, port: str, number: int, cluster: Sequence[Mapping[str, Any]] = ()) -> Any:
    """A site whose node runs one service with one port."""
    ports = {port: {"port": number, "container": number, "published": "10.0.0.1"}}
    return {"node": node, "services": {service: {"ports": ports}}, "cluster": list(cluster)}

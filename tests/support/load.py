"""Requests one after the other, as long as a test lasts, and what became of each."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker
import http_client
import site_under_test as site
from docker.models.containers import Container

Outcome = http_client.Answer | OSError
QUESTION = {"model": "chat", "messages": [{"role": "user", "content": "Say hello."}], "stream": False}


def failures(outcomes: Iterable[Outcome]) -> list[str]:
    """What each request was answered that was not served."""
    return [
        repr(one) if isinstance(one, OSError) else f"{one.status} {one.body[:200]!r}"
        for one in outcomes
        if isinstance(one, OSError) or one.status != 200
    ]


def counts_of(answers: list[http_client.Answer]) -> Counter[str]:
    """Node -> how many it answered."""
    return Counter(answer.headers["X-AI-Node"] for answer in answers)


def off_the_share(answers: list[http_client.Answer]) -> dict[str, float]:
    """Node -> percentage points between what it got and what is declared."""
    counts = counts_of(answers)
    shares = {n.name: n.entry["share"] for n in site.running("ollama") if not n.entry["drained"]}
    return {name: 100 * counts[name] / len(answers) - share for name, share in shares.items()}


def balanced(answers: list[http_client.Answer]) -> bool:
    return not any(off_the_share(answers).values())


def all_by(name: str) -> Callable[[list[http_client.Answer]], bool]:
    return lambda answers: counts_of(answers).keys() == {name}


def board(node: site.Node) -> Container:
    """The lab's container that is a node."""
    return docker.from_env().containers.get(f"aicluster-lab-{node.name}")


@contextmanager
def paused(box: Container) -> Iterator[None]:
    """A node that hangs: its kernel still takes connections, nobody answers."""
    box.pause()
    try:
        yield
    finally:
        box.unpause()


@dataclass
class Load:
    """One client after another, as fast as they are answered; what became of each request."""

    chat: Callable[[], http_client.Answer]
    began: list[float] = field(default_factory=list)
    answers: list[Outcome] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=120)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                answer: Outcome = self.chat()
            except OSError as error:
                answer = error
            self.took.append(time.monotonic() - began)
            self.began.append(began)
            self.answers.append(answer)
            time.sleep(0.01)

    def failed(self) -> list[str]:
        return failures(self.answers)

    def good(self, since: float = 0) -> list[http_client.Answer]:
        pairs = zip(self.began, self.answers, strict=False)
        return [a for t, a in pairs if t >= since and not isinstance(a, OSError) and a.status == 200]

    def wait_until(
        self, happened: Callable[[list[http_client.Answer]], bool], window: int, limit_s: float
    ) -> float:
        """Seconds until the last `window` answers please; fails after `limit_s`."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            recent = self.good(since=began)[-window:]
            if len(recent) == window and happened(recent):
                return time.monotonic() - began
            time.sleep(0.1)
        counts = counts_of(self.good(since=began))
        raise AssertionError(
            f"not within {limit_s} s; answers since then: {counts}; failed: {self.failed()[-5:]}"
        )

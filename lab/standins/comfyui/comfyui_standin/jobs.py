"""The queue, the one worker that makes pictures, and what became of each job."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from .graph import SHOWS, SIZED, below
from .png import png

Send = Callable[[str, dict[str, Any], str], None]
# A graph without a sampler takes no time worth waiting for.
STEPS_AT_MOST, SAMPLING_S = 20, 1
TEMPORARY = "ComfyUI_temp_standin"


class InterruptedJobError(Exception):
    """Somebody asked to stop the running job."""


@dataclass(frozen=True)
class Job:
    """A queued graph, and who hears of it."""

    number: int
    name: str
    graph: dict[str, Any]
    client: str
    shown: list[str]

    def listed(self) -> list[Any]:
        """Return the job as /queue and /history show it."""
        return [self.number, self.name, self.graph, {"client_id": self.client}, self.shown]


class Jobs:
    """The jobs of the ComfyUI in a folder."""

    def __init__(self, root: Path) -> None:
        """Begin with an empty queue."""
        self.root = root
        self.waiting: list[Job] = []
        self.running: Job | None = None
        self.history: dict[str, dict[str, Any]] = {}
        self.send: Send = lambda _event, _data, _client: None
        self._number, self._interrupted = 0, False
        self._news = asyncio.Event()

    def queue_info(self) -> dict[str, Any]:
        """Return the queue's length as the `status` event shows it."""
        return {"exec_info": {"queue_remaining": len(self.waiting) + (self.running is not None)}}

    def put(self, graph: Mapping[str, Any], name: str, client: str, shown: list[str]) -> int:
        """Queue a graph; return its number."""
        self._number += 1
        self.waiting.append(Job(self._number, name, dict(graph), client, shown))
        self._changed()
        return self._number

    def drop(self, names: list[str] | None) -> None:
        """Take waiting jobs off the queue; None means all."""
        self.waiting = [job for job in self.waiting if names is not None and job.name not in names]
        self._changed()

    def interrupt(self) -> None:
        """Stop the running job at its next step."""
        self._interrupted = True

    def _changed(self) -> None:
        self._news.set()
        self.send("status", {"status": self.queue_info()}, "")

    async def work(self) -> None:
        """Run jobs for ever, one at a time."""
        while True:
            while not self.waiting:
                self._news.clear()
                await self._news.wait()
            self.running, *self.waiting = self.waiting
            try:
                await self._run(self.running)
            finally:
                self.running = None
                self._changed()

    async def _run(self, job: Job) -> None:
        self._interrupted = False
        outputs: dict[str, Any] = {}
        messages: list[list[Any]] = []

        def tell(event: str, data: dict[str, Any], *, kept: bool = False) -> None:
            said = {**data, "prompt_id": job.name}
            if kept:
                messages.append([event, {**said, "timestamp": int(time.time() * 1000)}])
            if job.client:
                self.send(event, said, job.client)

        tell("execution_start", {}, kept=True)
        verdict, node = "success", ""
        try:
            for node in dict.fromkeys(one for output in job.shown for one in below(job.graph, output)):
                tell("executing", {"node": node})
                if found := await self._execute(job, node, tell):
                    outputs[node] = found
                    tell("executed", {"node": node, "output": found})
            tell("execution_success", {}, kept=True)
        except InterruptedJobError:
            verdict = "error"
            tell("execution_interrupted", {"node_id": node}, kept=True)
        status = {"status_str": verdict, "completed": verdict == "success", "messages": messages}
        self.history[job.name] = {"prompt": job.listed(), "outputs": outputs, "status": status}
        tell("executing", {"node": None})

    async def _execute(self, job: Job, node: str, tell: Callable[..., None]) -> dict[str, Any]:
        kind, inputs = job.graph[node]["class_type"], job.graph[node]["inputs"]
        if kind == "KSampler":
            steps = min(inputs["steps"], STEPS_AT_MOST)
            for step in range(steps):
                await asyncio.sleep(SAMPLING_S / steps)
                self._stop_if_asked()
                tell("progress", {"node": node, "value": step + 1, "max": steps})
        self._stop_if_asked()
        return self._show(job, node) if kind in SHOWS else {}

    def _stop_if_asked(self) -> None:
        if self._interrupted:
            raise InterruptedJobError

    def _show(self, job: Job, node: str) -> dict[str, Any]:
        width, height, seed, batch = picture_of(job.graph, node)
        prefix = job.graph[node]["inputs"].get("filename_prefix")
        kind = "temp" if prefix is None else "output"
        stem = TEMPORARY if prefix is None else str(prefix)
        images = []
        for index in range(batch):
            name = f"{stem}_{next_number(self.root / kind, stem):05}_.png"
            (self.root / kind / name).write_bytes(png(width, height, seed + index))
            images.append({"filename": name, "subfolder": "", "type": kind})
        return {"images": images}


def next_number(folder: Path, stem: str) -> int:
    """Return the number after the highest there is: it begins anew when the files were taken away."""
    numbered = re.compile(re.escape(stem) + r"_(\d+)_")
    found = [int(match[1]) for path in folder.glob("*") if (match := numbered.match(path.name))]
    return max(found, default=0) + 1


def picture_of(graph: Mapping[str, Any], node: str) -> tuple[int, int, int, int]:
    """Return width, height (pixels), seed and number of the pictures a node shows: all that decides them."""
    order = [graph[name] for name in below(graph, node)]
    size = next(one["inputs"] for one in order if one["class_type"] in SIZED)
    said = json.dumps([one["inputs"] for one in order], sort_keys=True)
    seed = int(sha256(said.encode()).hexdigest()[:6], 16)
    return size["width"], size["height"], seed, size["batch_size"]

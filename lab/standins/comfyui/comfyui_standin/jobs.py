"""The queue, the one worker that makes pictures, and what became of each job."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from .png import png

Graph = dict[str, Any]
# Event, data, and the client that hears of it: an empty name for all.
Send = Callable[[str, dict[str, Any], str], Awaitable[None]]
# The classes of nodes this project uses. Their links and values are not checked.
SHOWS = ("SaveImage", "PreviewImage")
SIZED = ("EmptyLatentImage", "EmptyImage")
OTHERS = ("CheckpointLoaderSimple", "CLIPTextEncode", "KSampler", "VAEDecode")
# A graph without a sampler takes no time worth waiting for.
SAMPLING_S = 1
TEMPORARY = "ComfyUI_temp_standin"


class InterruptedJobError(Exception):
    """Somebody asked to stop the running job."""


@dataclass(frozen=True)
class Job:
    """A queued graph, and who hears of it."""

    number: int
    name: str
    graph: Graph
    client: str

    def listed(self) -> list[Any]:
        """Return the job as /queue and /history show it."""
        return [self.number, self.name, self.graph, {"client_id": self.client}, shown_by(self.graph)]


class Jobs:
    """The jobs of the ComfyUI in a folder."""

    def __init__(self, root: Path, send: Send) -> None:
        self.root, self._send = root, send
        self.waiting: list[Job] = []
        self.running: Job | None = None
        self.history: dict[str, dict[str, Any]] = {}
        self._number, self._interrupted = 0, False
        self._news = asyncio.Event()

    def queue_info(self) -> dict[str, Any]:
        """Return the queue's length as the `status` event shows it."""
        return {"exec_info": {"queue_remaining": len(self.waiting) + (self.running is not None)}}

    async def put(self, graph: Graph, name: str, client: str) -> int:
        """Queue a graph; return its number."""
        self._number += 1
        number = self._number
        self.waiting.append(Job(number, name, graph, client))
        await self._changed()
        return number

    async def drop(self, names: list[str] | None) -> None:
        """Take waiting jobs off the queue; None means all."""
        self.waiting = [job for job in self.waiting if names is not None and job.name not in names]
        await self._changed()

    def interrupt(self) -> None:
        """Stop the running job at its next step."""
        self._interrupted = True

    async def _changed(self) -> None:
        self._news.set()
        await self._send("status", {"status": self.queue_info()}, "")

    async def work(self) -> None:
        """Run jobs for ever, one at a time."""
        while True:
            while not self.waiting:
                self._news.clear()
                await self._news.wait()
            self.running, *self.waiting = self.waiting
            await self._run(self.running)
            self.running = None
            await self._changed()

    async def _run(self, job: Job) -> None:
        self._interrupted = False
        outputs: dict[str, Any] = {}

        async def tell(event: str, **data: object) -> None:
            if job.client:
                await self._send(event, {**data, "prompt_id": job.name}, job.client)

        await tell("execution_start")
        verdict, shown = "success", shown_by(job.graph)
        try:
            for node in [name for name in job.graph if name not in shown] + shown:
                await tell("executing", node=node)
                if job.graph[node]["class_type"] == "KSampler":
                    steps = job.graph[node]["inputs"]["steps"]
                    for step in range(steps):
                        await asyncio.sleep(SAMPLING_S / steps)
                        self._stop_if_asked()
                        await tell("progress", node=node, value=step + 1, max=steps)
                self._stop_if_asked()
                if node in shown:
                    outputs[node] = {"images": [self._picture(job.graph, node)]}
                    await tell("executed", node=node, output=outputs[node])
        except InterruptedJobError:
            verdict = "error"
        status = {"status_str": verdict, "completed": verdict == "success"}
        self.history[job.name] = {"prompt": job.listed(), "outputs": outputs, "status": status}
        await tell("executing", node=None)

    def _stop_if_asked(self) -> None:
        if self._interrupted:
            raise InterruptedJobError

    def _picture(self, graph: Graph, node: str) -> dict[str, str]:
        """Draw what a node shows; return where. Everything in the graph decides what it looks like."""
        size = next(one["inputs"] for one in graph.values() if one["class_type"] in SIZED)
        seed = int(sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:6], 16)
        saved = graph[node]["class_type"] == "SaveImage"
        stem, kind = (graph[node]["inputs"]["filename_prefix"], "output") if saved else (TEMPORARY, "temp")
        name = f"{stem}_{next_number(self.root / kind, stem):05}_.png"
        (self.root / kind / name).write_bytes(png(size["width"], size["height"], seed))
        return {"filename": name, "subfolder": "", "type": kind}


def shown_by(graph: Graph) -> list[str]:
    """Return the ids of the nodes that show something. Raises ValueError for a node this stand-in lacks."""
    for name, node in graph.items():
        if node.get("class_type") not in (*SHOWS, *SIZED, *OTHERS):
            raise ValueError(f"Node {name}: the stand-in has no {node.get('class_type')}")
    return [name for name, node in graph.items() if node["class_type"] in SHOWS]


def next_number(folder: Path, stem: str) -> int:
    """Return the number after the highest there is: it begins anew when the files were taken away."""
    numbered = re.compile(re.escape(stem) + r"_(\d+)_")
    found = [int(match[1]) for path in folder.glob("*") if (match := numbered.match(path.name))]
    return max(found, default=0) + 1

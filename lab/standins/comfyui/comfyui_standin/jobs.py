"""The queue, the one worker that makes pictures, and what became of each job."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

Graph = dict[str, Any]
# Event, data, and the client that hears of it: an empty name for all.
Send = Callable[[str, dict[str, Any], str], Awaitable[None]]
# The classes of nodes this project uses. Their links and values are not checked.
SHOWS = ("SaveImage", "PreviewImage")
OTHERS = (
    "CheckpointLoaderSimple", "CLIPTextEncode", "EmptyImage", "EmptyLatentImage", "KSampler", "VAEDecode",
)  # fmt: skip
# A graph without a sampler takes no time worth waiting for.
SAMPLING_S = 1
TEMPORARY = "ComfyUI_temp_standin"
# One grey pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
)


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

    async def put(self, graph: Graph, client: str) -> Job:
        """Queue a graph."""
        self._number += 1
        job = Job(self._number, str(uuid4()), graph, client)
        self.waiting.append(job)
        await self._changed()
        return job

    async def drop(self, names: list[str] | None) -> None:
        """Take waiting jobs off the queue; None means all."""
        self.waiting = [job for job in self.waiting if names is not None and job.name not in names]
        await self._changed()

    def interrupt(self) -> None:
        """Stop the running job at its next node."""
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
        shown = shown_by(job.graph)
        for node in sorted(job.graph, key=lambda name: name in shown):
            await tell("executing", node=node)
            if job.graph[node]["class_type"] == "KSampler":
                steps = job.graph[node]["inputs"]["steps"]
                for step in range(steps):
                    await asyncio.sleep(SAMPLING_S / steps)
                    await tell("progress", node=node, value=step + 1, max=steps)
            if self._interrupted:
                break
            if node in shown:
                outputs[node] = {"images": [self._picture(job, node)]}
                await tell("executed", node=node, output=outputs[node])
        verdict = "error" if self._interrupted else "success"
        status = {"status_str": verdict, "completed": verdict == "success"}
        self.history[job.name] = {"prompt": job.listed(), "outputs": outputs, "status": status}
        await tell("executing", node=None)

    def _picture(self, job: Job, node: str) -> dict[str, str]:
        """Write what a node shows; return where. What follows its pixel makes each picture another."""
        one = job.graph[node]
        saved = one["class_type"] == "SaveImage"
        stem, kind = (one["inputs"]["filename_prefix"], "output") if saved else (TEMPORARY, "temp")
        name = f"{stem}_{job.number:05}_.png"
        (self.root / kind / name).write_bytes(PNG + job.name.encode())
        return {"filename": name, "subfolder": "", "type": kind}


def shown_by(graph: Graph) -> list[str]:
    """Return the ids of the nodes that show something. Raises ValueError for a node this stand-in lacks."""
    for name, node in graph.items():
        if node.get("class_type") not in (*SHOWS, *OTHERS):
            raise ValueError(f"Node {name}: the stand-in has no {node.get('class_type')}")
    return [name for name, node in graph.items() if node["class_type"] in SHOWS]

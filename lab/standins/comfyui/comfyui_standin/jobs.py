"""The queue, the one worker that makes pictures, and what became of each job."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from .graph import KINDS, below
from .png import png

Send = Callable[[str, dict[str, Any], str], None]
# A graph without a sampler takes no time worth waiting for.
STEPS_AT_MOST = 20
NO_LOSS = {"filename_prefix": "ComfyUI_temp_standin"}
SIZE = (64, 64)


@dataclass(frozen=True)
class Folders:
    """Where ComfyUI keeps its files: `models/<kind>`, `input`, `output`, `temp`."""

    root: Path

    def of(self, kind: str) -> Path | None:
        """Return one of the folders pictures are shown from; None for another name."""
        return self.root / kind if kind in {"input", "output", "temp"} else None

    def model_kinds(self) -> list[str]:
        """Return the kinds of models."""
        return sorted(path.name for path in (self.root / "models").iterdir() if path.is_dir())

    def files(self, kind: str) -> list[str]:
        """Return the names of the models of a kind, or of the input pictures."""
        folder = self.root / "input" if kind == "input" else self.root / "models" / kind
        return sorted(path.name for path in folder.glob("*") if path.is_file())


class InterruptedJobError(Exception):
    """Somebody asked to stop the running job."""


@dataclass(frozen=True, order=True)
class Job:
    """A queued graph; the lowest number is first."""

    number: float
    name: str
    graph: dict[str, Any] = field(compare=False)
    extra: dict[str, Any] = field(compare=False)
    shown: list[str] = field(compare=False)

    def listed(self) -> list[Any]:
        """Return the job as /queue and /history show it."""
        return [self.number, self.name, self.graph, self.extra, self.shown]


class Jobs:
    """The jobs of one ComfyUI; `seconds` is how long sampling takes."""

    def __init__(self, folders: Folders, seconds: float) -> None:
        """Begin with an empty queue and nothing loaded."""
        self.folders, self._seconds = folders, seconds
        self.waiting: list[Job] = []
        self.running: Job | None = None
        # The node of the running job that is being executed.
        self.node = ""
        self.history: dict[str, dict[str, Any]] = {}
        self.model_loaded = False
        self.send: Send = lambda _event, _data, _client: None
        self._number, self._interrupted = 0, False
        self._news = asyncio.Event()

    def remaining(self) -> int:
        """Return how many jobs wait or run."""
        return len(self.waiting) + (self.running is not None)

    def executing(self, client: str) -> str:
        """Return the node that is being executed for this client, or an empty text."""
        running = self.running
        return self.node if running and running.extra.get("client_id") == client else ""

    def queue_info(self) -> dict[str, Any]:
        """Return the queue's length as GET /prompt and the `status` event show it."""
        return {"exec_info": {"queue_remaining": self.remaining()}}

    def put(self, body: Mapping[str, Any], name: str, shown: list[str]) -> float:
        """Queue a graph; return its number."""
        if "number" in body:
            number = float(body["number"])
        else:
            number = float(-self._number if body.get("front") else self._number)
            self._number += 1
        extra = dict(body.get("extra_data") or {})
        if "client_id" in body:
            extra["client_id"] = str(body["client_id"])
        self.waiting = sorted([*self.waiting, Job(number, name, dict(body["prompt"]), extra, shown)])
        self._changed()
        return number

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
                self.running, self.node = None, ""
                self._changed()

    async def _run(self, job: Job) -> None:
        self._interrupted = False
        client = str(job.extra.get("client_id", ""))
        outputs: dict[str, Any] = {}
        messages: list[list[Any]] = []

        def tell(event: str, data: dict[str, Any], *, kept: bool = False) -> None:
            said = {**data, "prompt_id": job.name}
            if kept:
                messages.append([event, {**said, "timestamp": int(time.time() * 1000)}])
            if client:
                self.send(event, said, client)

        tell("execution_start", {}, kept=True)
        tell("execution_cached", {"nodes": []}, kept=True)
        verdict, done, node = "success", True, ""
        try:
            for output in job.shown:
                for node in below(job.graph, output):
                    if node in outputs:
                        continue
                    self.node = node
                    tell("executing", {"node": node, "display_node": node})
                    found = await self._execute(job, node, tell)
                    if found:
                        outputs[node] = found
                        tell("executed", {"node": node, "display_node": node, "output": found})
            tell("execution_success", {}, kept=True)
        except InterruptedJobError:
            verdict, done = "error", False
            kind = job.graph[node]["class_type"]
            tell("execution_interrupted", {"node_id": node, "node_type": kind, "executed": []}, kept=True)
        status = {"status_str": verdict, "completed": done, "messages": messages}
        self.history[job.name] = {"prompt": job.listed(), "outputs": outputs, "status": status, "meta": {}}
        tell("executing", {"node": None})

    async def _execute(self, job: Job, node: str, tell: Callable[..., None]) -> dict[str, Any]:
        kind, inputs = job.graph[node]["class_type"], job.graph[node]["inputs"]
        if kind == "CheckpointLoaderSimple":
            self.model_loaded = True
        if kind == "KSampler":
            steps = min(int(inputs["steps"]), STEPS_AT_MOST)
            for step in range(steps):
                await asyncio.sleep(self._seconds / steps)
                self._stop_if_asked()
                tell("progress", {"node": node, "value": step + 1, "max": steps})
        self._stop_if_asked()
        return self._show(job, node) if KINDS[kind].shows else {}

    def _stop_if_asked(self) -> None:
        if self._interrupted:
            raise InterruptedJobError

    def _show(self, job: Job, node: str) -> dict[str, Any]:
        width, height, seed, batch = picture_of(job.graph, node)
        saved = job.graph[node]["class_type"] == "SaveImage"
        kind = "output" if saved else "temp"
        prefix = str((job.graph[node]["inputs"] if saved else NO_LOSS)["filename_prefix"])
        subfolder, _, stem = prefix.rpartition("/")
        folder = self.folders.root / kind / subfolder
        if not folder.resolve().is_relative_to((self.folders.root / kind).resolve()):
            raise InterruptedJobError
        folder.mkdir(parents=True, exist_ok=True)
        images = []
        for index in range(batch):
            name = f"{stem}_{next_number(folder, stem):05}_.png"
            texts = {"prompt": json.dumps(job.graph)}
            (folder / name).write_bytes(png(width, height, seed + index, texts))
            images.append({"filename": name, "subfolder": subfolder, "type": kind})
        return {"images": images}


def next_number(folder: Path, stem: str) -> int:
    """Return the number after the highest there is: it begins anew when the files were taken away."""
    numbered = re.compile(re.escape(stem) + r"_(\d+)_")
    found = [int(match[1]) for path in folder.glob("*") if (match := numbered.match(path.name))]
    return max(found, default=0) + 1


def picture_of(graph: Mapping[str, Any], node: str) -> tuple[int, int, int, int]:
    """Return width, height (pixels), seed and number of the pictures a node shows: all that decides them."""
    order = [graph[name] for name in below(graph, node)]
    sizes = [one["inputs"] for one in order if one["class_type"] in {"EmptyLatentImage", "EmptyImage"}]
    width, height = (int(sizes[0]["width"]), int(sizes[0]["height"])) if sizes else SIZE
    batch = int(sizes[0].get("batch_size", 1)) if sizes else 1
    said = json.dumps([one["inputs"] for one in order], sort_keys=True)
    return width, height, int(sha256(said.encode()).hexdigest()[:6], 16), batch

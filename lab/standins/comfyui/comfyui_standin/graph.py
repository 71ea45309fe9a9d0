"""Graphs in API format: the nodes this project uses. Their links and values are not checked."""

from collections.abc import Mapping
from typing import Any

Graph = Mapping[str, Any]
SHOWS = ("SaveImage", "PreviewImage")
SIZED = ("EmptyLatentImage", "EmptyImage")
OTHERS = ("CheckpointLoaderSimple", "CLIPTextEncode", "KSampler", "VAEDecode")


class RefusedError(Exception):
    """A graph that cannot be queued."""

    def __init__(self, kind: str, message: str) -> None:
        """Keep both in the shape of the answer."""
        super().__init__(message)
        self.error = {"type": kind, "message": message, "details": "", "extra_info": {}}


def below(graph: Graph, output: str) -> list[str]:
    """Return what an output depends on and itself, in an order in which it can be executed."""
    order: list[str] = []

    def visit(node: str) -> None:
        if node not in order:
            for value in graph[node]["inputs"].values():
                if isinstance(value, list):
                    visit(str(value[0]))
            order.append(node)

    visit(output)
    return order


def shown_by(graph: Graph) -> list[str]:
    """Return the ids of the nodes that show something. Raises RefusedError with the types of ComfyUI."""
    for name, node in graph.items():
        if node.get("class_type") not in (*SHOWS, *SIZED, *OTHERS):
            raise RefusedError("invalid_prompt", f"Node {name}: the stand-in has no {node.get('class_type')}")
    shown = [name for name, node in graph.items() if node["class_type"] in SHOWS]
    if not shown:
        raise RefusedError("prompt_no_outputs", "Nothing in the graph is shown or saved")
    return shown

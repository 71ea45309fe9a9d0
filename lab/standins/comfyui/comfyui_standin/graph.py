"""Graphs in API format: the nodes this project uses, and what is refused before a job is queued."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

Graph = Mapping[str, Any]
SHOWS = ("SaveImage", "PreviewImage")
SIZED = ("EmptyLatentImage", "EmptyImage")
# Class of nodes -> its inputs: values, and outputs of other nodes as [id, number].
INPUTS = {
    "CheckpointLoaderSimple": "ckpt_name",
    "CLIPTextEncode": "text clip",
    "EmptyLatentImage": "width height batch_size",
    "KSampler": "seed steps cfg sampler_name scheduler denoise model positive negative latent_image",
    "VAEDecode": "samples vae",
    "EmptyImage": "width height batch_size color",
    "SaveImage": "filename_prefix images",
    "PreviewImage": "images",
}
# What decides how much work a job is, and how much at most; the other values are not looked at.
AT_MOST = {"width": 16384, "height": 16384, "batch_size": 4096, "steps": 10000}


class RefusedError(Exception):
    """A graph that cannot be queued: `error` of the whole, `node_errors` by node id ([] without any)."""

    def __init__(self, kind: str, message: str, nodes: object = None) -> None:
        """Keep both in the shape of the answer."""
        super().__init__(message)
        self.error = {"type": kind, "message": message, "details": "", "extra_info": {}}
        self.node_errors = [] if nodes is None else nodes


def links(node: Mapping[str, Any]) -> list[str]:
    """Return the ids of the nodes this one takes outputs of."""
    return [str(value[0]) for value in node["inputs"].values() if isinstance(value, list) and value]


def below(graph: Graph, output: str) -> list[str]:
    """Return what an output depends on and itself, in an order in which it can be executed.

    Raises RefusedError for a circle.
    """
    order: list[str] = []

    def visit(node: str, path: tuple[str, ...]) -> None:
        if node in path:
            raise RefusedError("prompt_outputs_failed_validation", f"The graph has a circle through {node}")
        if node not in order and node in graph:
            for other in links(graph[node]):
                visit(other, (*path, node))
            order.append(node)

    visit(output, ())
    return order


def validated(graph: object, checkpoints: Collection[str]) -> list[str]:
    """Return the ids of the nodes that show something. Raises RefusedError with the types of ComfyUI."""
    if not isinstance(graph, Mapping):
        raise RefusedError("invalid_prompt", "The graph must be an object")
    for name, node in graph.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("inputs"), Mapping):
            raise RefusedError("invalid_prompt", f"Node {name} must have class_type and inputs")
        if node.get("class_type") not in INPUTS:
            raise RefusedError("invalid_prompt", f"Node {name}: the stand-in has no {node.get('class_type')}")
    shown = [name for name, node in graph.items() if node["class_type"] in SHOWS]
    if not shown:
        raise RefusedError("prompt_no_outputs", "Nothing in the graph is shown or saved")
    for output in shown:
        if not any(graph[name]["class_type"] in SIZED for name in below(graph, output)):
            raise RefusedError("prompt_outputs_failed_validation", f"Node {output} shows nothing of a size")
    errors = {
        name: {"errors": found, "class_type": graph[name]["class_type"]}
        for output in shown
        for name in below(graph, output)
        if (found := list(input_errors(graph, graph[name], checkpoints)))
    }
    if errors:
        raise RefusedError("prompt_outputs_failed_validation", "Inputs are not valid", errors)
    return shown


def input_errors(graph: Graph, node: Graph, checkpoints: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield what is wrong with the inputs of one node."""
    given = node["inputs"]
    for name in INPUTS[node["class_type"]].split():
        value = given.get(name)
        if name not in given:
            yield {"type": "required_input_missing", "details": name}
        elif isinstance(value, list) and not (value and str(value[0]) in graph):
            yield {"type": "bad_linked_input", "details": f"{name}: {value}"}
        elif name == "ckpt_name" and value not in checkpoints:
            yield {"type": "value_not_in_list", "details": f"{name}: {value} is none of {list(checkpoints)}"}
        elif name == "filename_prefix" and "/" in str(value):
            yield {"type": "custom_validation_failed", "details": "the stand-in saves into no folder"}
        elif name in AT_MOST and not (isinstance(value, int) and 1 <= value <= AT_MOST[name]):
            said = f"{name}: {value} is no number from 1 to {AT_MOST[name]}"
            yield {"type": "invalid_input_type", "details": said}

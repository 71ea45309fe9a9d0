"""Graphs in API format: the nodes this project uses, and what is refused before a job is queued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LINK_LENGTH = 2
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "lcm")
SCHEDULERS = ("normal", "karras", "simple", "sgm_uniform")
Graph = Mapping[str, Any]
Choices = Callable[[str], list[str]]


@dataclass(frozen=True)
class Number:
    """A number between two limits, both allowed."""

    low: float
    high: float
    whole: bool = True


@dataclass(frozen=True)
class OneOf:
    """One of some texts: fixed ones, or the files of a folder."""

    fixed: tuple[str, ...] = ()
    folder: str = ""


# What an input takes: a number, one of some texts, any text, or the output of another node by its type.
Input = Number | OneOf | str
TEXT = "STRING"


@dataclass(frozen=True)
class Kind:
    """A class of nodes."""

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...] = ()
    shows: bool = False


PIXELS, BATCH = Number(16, 16384), Number(1, 4096)
KINDS: dict[str, Kind] = {
    "CheckpointLoaderSimple": Kind({"ckpt_name": OneOf(folder="checkpoints")}, ("MODEL", "CLIP", "VAE")),
    "ControlNetLoader": Kind({"control_net_name": OneOf(folder="controlnet")}, ("CONTROL_NET",)),
    "ControlNetApplyAdvanced": Kind(
        {
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "control_net": "CONTROL_NET",
            "image": "IMAGE",
            "strength": Number(0, 10, whole=False),
            "start_percent": Number(0, 1, whole=False),
            "end_percent": Number(0, 1, whole=False),
        },
        ("CONDITIONING", "CONDITIONING"),
    ),
    "LoadImage": Kind({"image": OneOf(folder="input")}, ("IMAGE", "MASK")),
    "CLIPTextEncode": Kind({"text": TEXT, "clip": "CLIP"}, ("CONDITIONING",)),
    "EmptyLatentImage": Kind({"width": PIXELS, "height": PIXELS, "batch_size": BATCH}, ("LATENT",)),
    "KSampler": Kind(
        {
            "model": "MODEL",
            "seed": Number(0, 2**64 - 1),
            "steps": Number(1, 10000),
            "cfg": Number(0, 100, whole=False),
            "sampler_name": OneOf(SAMPLERS),
            "scheduler": OneOf(SCHEDULERS),
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
            "denoise": Number(0, 1, whole=False),
        },
        ("LATENT",),
    ),
    "VAEDecode": Kind({"samples": "LATENT", "vae": "VAE"}, ("IMAGE",)),
    "EmptyImage": Kind(
        {
            "width": Number(1, 16384),
            "height": Number(1, 16384),
            "batch_size": BATCH,
            "color": Number(0, 0xFFFFFF),
        },
        ("IMAGE",),
    ),
    "SaveImage": Kind({"images": "IMAGE", "filename_prefix": TEXT}, shows=True),
    "PreviewImage": Kind({"images": "IMAGE"}, shows=True),
}


class RefusedError(Exception):
    """A graph that cannot be queued: `error` of the whole, `node_errors` by node id ([] without any)."""

    def __init__(self, kind: str, message: str, details: str = "", nodes: object = None) -> None:
        """Keep both in the shape of the answer."""
        super().__init__(message)
        self.error = {"type": kind, "message": message, "details": details, "extra_info": {}}
        self.node_errors = [] if nodes is None else nodes


def links(node: Mapping[str, Any]) -> list[str]:
    """Return the ids of the nodes this one takes outputs of."""
    return [str(value[0]) for value in node.get("inputs", {}).values() if isinstance(value, list) and value]


def below(graph: Graph, output: str) -> list[str]:
    """Return what an output depends on and itself, in an order in which it can be executed.

    Raises RefusedError for a circle.
    """
    order: list[str] = []

    def visit(node: str, path: tuple[str, ...]) -> None:
        if node in path:
            raise RefusedError("prompt_outputs_failed_validation", "The graph has a circle", node)
        if node not in order and node in graph:
            for other in links(graph[node]):
                visit(other, (*path, node))
            order.append(node)

    visit(output, ())
    return order


def validated(graph: object, choices: Choices) -> list[str]:
    """Return the ids of the nodes that show something; `choices`: folder -> names of its files.

    Raises RefusedError with the status texts of ComfyUI.
    """
    if not isinstance(graph, Mapping):
        raise RefusedError("invalid_prompt", "The graph must be an object")
    for name, node in graph.items():
        if not isinstance(node, Mapping) or "class_type" not in node:
            raise RefusedError("invalid_prompt", "A node has no class_type", f"Node ID '#{name}'")
        if node["class_type"] not in KINDS:
            text = f"There is no node class {node['class_type']}"
            raise RefusedError("invalid_prompt", text, f"Node ID '#{name}'")
    shown = [name for name, node in graph.items() if KINDS[node["class_type"]].shows]
    if not shown:
        raise RefusedError("prompt_no_outputs", "Nothing in the graph is shown or saved")
    errors: dict[str, Any] = {}
    for output in shown:
        for name in below(graph, output):
            found = list(input_errors(graph, graph[name], choices))
            if found:
                entry = {"errors": found, "dependent_outputs": [], "class_type": graph[name]["class_type"]}
                errors.setdefault(name, entry)["dependent_outputs"].append(output)
    if errors:
        raise RefusedError("prompt_outputs_failed_validation", "Inputs are not valid", nodes=errors)
    return shown


def input_errors(graph: Graph, node: Mapping[str, Any], choices: Choices) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with the inputs of one node."""
    given = node.get("inputs", {})
    for name, takes in KINDS[node["class_type"]].inputs.items():
        kind, message, detail = "", "", name
        if name not in given:
            kind, message = "required_input_missing", "Required input is missing"
        elif isinstance(takes, str) and takes != TEXT:
            kind, message, detail = link_error(graph, given[name], takes, name)
        elif isinstance(given[name], list):
            kind, message = "bad_linked_input", "Takes a value, not the output of a node"
        else:
            kind, message, detail = value_error(given[name], takes, name, choices)
        if kind:
            extra = {"input_name": name, "received_value": given.get(name)}
            yield {"type": kind, "message": message, "details": detail, "extra_info": extra}


def link_error(graph: Graph, value: object, wanted: str, name: str) -> tuple[str, str, str]:
    """Return (type, message, details) for an input that takes an output; three empty texts if it is good."""
    if not isinstance(value, list) or len(value) != LINK_LENGTH or str(value[0]) not in graph:
        return "bad_linked_input", "Bad linked input, must be [node id, number of its output]", name
    outputs = KINDS[graph[str(value[0])]["class_type"]].outputs
    got = outputs[value[1]] if isinstance(value[1], int) and value[1] < len(outputs) else "nothing"
    return ("", "", "") if got == wanted else ("return_type_mismatch", "Wrong type", f"{got}, not {wanted}")


def value_error(value: object, takes: Input, name: str, choices: Choices) -> tuple[str, str, str]:
    """Return (type, message, details) for an input that takes a value; three empty texts if it is good."""
    if isinstance(takes, Number):
        try:
            number = (int if takes.whole else float)(str(value))
        except ValueError:
            return "invalid_input_type", "Is no number", f"{name}, {value}"
        if number < takes.low:
            return "value_smaller_than_min", f"Value {number} smaller than {takes.low}", name
        if number > takes.high:
            return "value_bigger_than_max", f"Value {number} bigger than {takes.high}", name
    if isinstance(takes, OneOf):
        known = list(takes.fixed) or choices(takes.folder)
        if value not in known:
            return "value_not_in_list", "Value not in list", f"{name}: '{value}' not in {known}"
    return "", "", ""

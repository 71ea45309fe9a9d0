"""What a value can be held to, and the words of the error when it does not hold."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import SiteError

LAST_PORT = 65535


def is_whole(least: int, most: int | None = None) -> Callable[[Any], bool]:
    """Return the predicate "an integer from `least` to `most`"; true and false are no integers here."""

    def holds(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return value >= least and (most is None or value <= most)

    return holds


def is_number(least: float, most: float) -> Callable[[Any], bool]:
    """Return the predicate "a number from `least` to `most`"."""
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    )


def is_text(value: object) -> bool:
    """A string with something in it."""
    return isinstance(value, str) and bool(value.strip())


def matches(pattern: str) -> Callable[[Any], bool]:
    """Return the predicate "a text that a regular expression describes"."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_names(value: object) -> bool:
    """A list of non-empty strings; the list may be empty."""
    return isinstance(value, list) and all(map(is_text, value))


def or_null(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return the predicate that also accepts null."""
    return lambda value: value is None or holds(value)


def shown(value: object) -> str:
    """Return a value as a reader of YAML knows it: quoted text, true, null."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)


def suggestion(word: object, known: Iterable[str], otherwise: str = "write one of {}") -> str:
    """Return the known word that was probably meant as an error's fix, or `otherwise` with all of them."""
    words = list(known)
    close = get_close_matches(str(word), words, n=1)
    return f"write {close[0]}" if close else otherwise.format(", ".join(words))


def numbered(sentences: Sequence[str], what: str, rest: str) -> str:
    """Return how many sentences there are of `what`, with the `rest` of that line, and the sentences."""
    count = f"{len(sentences)} {what}{'' if len(sentences) == 1 else 's'}"
    lines = [f"{number:>3}. {sentence}" for number, sentence in enumerate(sentences, start=1)]
    return "\n".join([count + rest, *lines])


def named_node(nodes: Sequence[Mapping[str, Any]], name: str, what: str) -> Mapping[str, Any]:
    """Return the node with a name or address; raise SiteError with the nearest name. `what`: a playbook."""
    for node in nodes:
        if name in (node["name"], node["host"], node["address"]):
            return node
    fix = suggestion(name, [node["name"] for node in nodes])
    raise SiteError(f"{what}: node {name!r}: must be a node of the site; {fix}")

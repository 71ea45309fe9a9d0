"""Model names as Ollama reads them: `[host/][namespace/]model[:tag]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"


@dataclass(frozen=True)
class Name:
    """A complete model name."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def short(self) -> str:
        """The name as `ollama list` shows it: defaults left out, the tag always there."""
        parts = [self.host, self.namespace, self.model]
        if self.host == HOST:
            parts = parts[1:] if self.namespace != NAMESPACE else parts[2:]
        return f"{'/'.join(parts)}:{self.tag}"

    @property
    def path(self) -> PurePosixPath:
        """Where the manifest lies below `manifests/`."""
        return PurePosixPath(self.host, self.namespace, self.model, self.tag)


def parse(text: str) -> Name:
    """Return the complete name. Raises ValueError for an empty part."""
    rest, _, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", TAG)
    parts = rest.split("/")
    host, namespace, model = [*[HOST, NAMESPACE][: max(0, 3 - len(parts))], *parts][-3:]
    if not all((host, namespace, model, tag)):
        raise ValueError(f"invalid model name {text!r}")
    return Name(host, namespace, model, tag)

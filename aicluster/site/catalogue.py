# SPDX-License-Identifier: Apache-2.0
"""The service catalogue: what each service is, as roles/<service>/meta/service.yml says.

FIELDS is the only description of that file. The file is checked against it, and so is what the site
(`service_overrides`) and the placement lists override; docs/reference/service-fields.md is written from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .rules import LAST_PORT, is_names, is_text, is_whole, shown, suggestion
from .vocabulary import YAML_LOADER

ARCHITECTURES = ("amd64", "arm64")
# Whom a port may be opened to besides the tiers.
AUDIENCES = ("lan", "operators", "localhost")


class Kind(NamedTuple):
    """What a value must be: `holds`, which `says` puts in words behind "must be"."""

    holds: Callable[[Any], bool]
    says: str
    # What the value, or each item of it, is one of: `architectures`, `audiences`, `ports` (its own).
    words: str = ""


class Field(NamedTuple):
    """A key of the file; `keys`: those of the mapping, or of each mapping in it; `fixed`: not to override."""

    kind: Kind
    meaning: str
    required: bool = True
    nullable: bool = False
    keys: Mapping[str, Field] = {}
    fixed: bool = False

    @property
    def says(self) -> str:
        """Return what the value must be."""
        return self.kind.says.format(", ".join(self.keys)) + (", or null" if self.nullable else "")


def is_exact_image(value: object) -> bool:
    """`[registry[:port]/]name:tag` with a tag that names a version: not `latest`, and with a digit in it."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?", value):
        return False
    tag = value.split("@")[0].rsplit("/", 1)[-1].partition(":")[2]
    return "latest" not in tag and bool(re.search(r"\d", tag))


def is_command(value: object) -> bool:
    """Tell whether a value is a health check's command as compose files have it."""
    return isinstance(value, list) and is_names(value) and len(value) > 1 and value[0] in ("CMD", "CMD-SHELL")


def is_kind(*kinds: type) -> Callable[[Any], bool]:
    """Return the predicate "of one of these types"."""
    return lambda value: isinstance(value, kinds)


IMAGE = Kind(is_exact_image, "name:tag with the exact version, not latest")
BUILDS = Kind(lambda value: is_names(value) and value != [], "a list of amd64 and arm64", "architectures")
AUDIENCE = Kind(is_names, "a list of tiers, lan, operators, localhost; `[]` publishes nothing", "audiences")
COMMAND = Kind(is_command, "a list that starts with CMD or CMD-SHELL")
PATH = Kind(lambda value: isinstance(value, str) and value.startswith("/"), "a path that starts with /")
PORT_NAME = Kind(is_text, "the name of one of the service's ports", "ports")
PORT_NUMBER = Kind(is_whole(1, LAST_PORT), f"a port from 1 to {LAST_PORT}")
SECONDS = Kind(is_whole(1), "a whole number of seconds from 1")
ONE, NAMED = (
    Kind(is_kind(Mapping), "a mapping with {}"),
    Kind(is_kind(Mapping), "a mapping from name to {{{}}}"),
)
LISTED = Kind(is_kind(list), "a list of mappings with {}")
NAME, NAMES, SERVICES = (
    Kind(is_text, "a name"),
    Kind(is_names, "a list of names"),
    Kind(is_names, "a list of services"),
)

PORT = {
    "port": Field(PORT_NUMBER, "number on the node"),
    "container": Field(PORT_NUMBER, "number inside the container", fixed=True),
    "from": Field(
        AUDIENCE, "who may reach it; Docker enforces `localhost` and `[]`, a firewall for the rest is to come"
    ),
}
HEALTH = {
    "test": Field(COMMAND, "exits 0 while the service is healthy"),
    "interval_s": Field(SECONDS, "time between two checks"),
    "timeout_s": Field(SECONDS, "a check that takes longer has failed"),
    "retries": Field(Kind(is_whole(1), "a whole number from 1"), "failures in a row that make it unhealthy"),
    "start_s": Field(
        Kind(is_whole(0), "a whole number of seconds"), "failures this soon after a start do not count"
    ),
}
PAGE = {"port": Field(PORT_NAME, "port of the page"), "path": Field(PATH, "path of the page")}
METRICS = PAGE | {
    "interval_s": Field(SECONDS, "if Prometheus should ask less often", False),
    "token": Field(NAME, "secret that Prometheus shows", False),
}
KEPT = {
    "volume": Field(NAME, "a volume", False),
    "database": Field(NAME, "a database, or all of them", False),
}
FIELDS = {
    "summary": Field(Kind(is_text, "a few words"), "what it is"),
    "image": Field(IMAGE, "image of its container; null: the host itself runs it", nullable=True),
    "architectures": Field(BUILDS, "what the image is built for"),
    "memory_mb": Field(Kind(is_whole(1), "a whole number of MiB from 1"), "hard limit of the main container"),
    "disk_gb": Field(Kind(is_whole(0), "a whole number of GiB"), "what its data may grow to"),
    "ports": Field(NAMED, "what it listens on", keys=PORT),
    "health": Field(
        ONE, "the container's own health check; null without an image", nullable=True, keys=HEALTH
    ),
    "secrets": Field(NAMES, "names that need a value in `site_secrets`"),
    "metrics": Field(ONE, "the page Prometheus scrapes", nullable=True, keys=METRICS),
    "backup": Field(LISTED, "what must survive the node", keys=KEPT),
    "uid": Field(
        Kind(is_whole(0), "a numeric user id"), "user who may read its secret files, else root", False
    ),
    "unit": Field(
        Kind(is_text, "the name of a systemd unit"),
        "its state is the service's, if the host runs it",
        False,
        nullable=True,
    ),
    "needs": Field(SERVICES, "what must run on some node", False),
    "beside": Field(SERVICES, "what must run on the same node", False),
    "databases": Field(
        NAMES, "made by postgres, each with a role and the secret `<name>_db_password`", False
    ),
    "buckets": Field(
        NAMES, "made by the object store, with a user and the secret `<service>_s3_secret`", False
    ),
    "probe": Field(ONE, "the page the blackbox exporter asks", False, nullable=True, keys=PAGE),
    "dashboard": Field(ONE, "the page a person opens", False, nullable=True, keys=PAGE),
}


def refuse_twice(node: yaml.Node | None) -> None:
    """Raise ConstructorError where a mapping has the same key twice: the last one would win."""
    if isinstance(node, yaml.MappingNode):
        keys = [(key.tag, str(key.value)) for key, _ in node.value]
        twice = sorted({name for tag, name in keys if keys.count((tag, name)) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the same key twice: {twice}", node.start_mark
            )
        for _, value in node.value:
            refuse_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            refuse_twice(item)


def parsed(text: bytes, loader_of: Callable[[bytes], Any] = YAML_LOADER) -> object:
    """Return what a text in YAML says; raise YAMLError for what is none, or has the same key twice."""
    loader = loader_of(text)
    node = loader.get_single_node()
    refuse_twice(node)
    return loader.construct_document(node) if node else None


def file_of(service: str) -> str:
    """Return the file that says what a service is."""
    return f"roles/{service}/meta/service.yml"


def load(roles: Path) -> dict[str, Any]:
    """Return service -> what its file says; a role without that file is no service.

    Raises ValueError with one sentence for all files that are no YAML.
    """
    found: dict[str, Any] = {}
    broken: list[str] = []
    for path in sorted(roles.glob("*/meta/service.yml")):
        service = path.parents[1].name
        try:
            found[service] = parsed(path.read_bytes())
        except yaml.YAMLError as error:
            broken.append(f"{file_of(service)}: {' '.join(str(error).split())}")
    if broken:
        raise ValueError("; ".join([*broken, "correct the syntax"]))
    return found


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return `override` laid over `base`: mappings are merged key by key, anything else is replaced."""
    both = [key for key, value in override.items() if isinstance(value, Mapping)]
    deep = {key: merged(base[key], override[key]) for key in both if isinstance(base.get(key), Mapping)}
    return {**base, **override, **deep}


def below(base: object, name: object) -> object:
    """Return what an override of a key lies over; what is no mapping stands for what should be in it."""
    return base.get(name) if isinstance(base, Mapping) else base


def problems(
    subject: str, entry: object, place: str, tiers: Sequence[str], base: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Yield one sentence for each mistake in a service's file, or in overrides over the entry `base`.

    `subject` names the entry in the sentences, `place` is the file to correct.
    """
    layers = [below(layer, "ports") for layer in (base, entry) if isinstance(layer, Mapping)]
    ports = [str(name) for layer in layers if isinstance(layer, Mapping) for name in layer]
    words = {"architectures": ARCHITECTURES, "audiences": (*tiers, *AUDIENCES), "ports": ports}
    yield from Reader(subject, place, words).mapping("", entry, FIELDS, base)


@dataclass(frozen=True)
class Reader:
    """Reads one entry; its sentences name a key by its path. `words`: what a kind's `words` stands for."""

    subject: str
    place: str
    words: Mapping[str, Sequence[str]]

    def wrong(self, key: str, value: str, rule: str, fix: str = "correct it") -> str:
        """Return the sentence about one mistake."""
        return f"{key}{' of ' if key else ''}{self.subject} {value}: {rule}; {fix} in {self.place}"

    def mapping(self, key: str, value: object, fields: Mapping[str, Field], base: object) -> Iterator[str]:
        """Yield the mistakes in a mapping; keys may be missing if it overrides `base`, mistaken or not."""
        listed = ", ".join(fields)
        if not isinstance(value, Mapping) or (base is None and not value):
            yield self.wrong(key, shown(value), f"must be a mapping with {listed}")
            return
        prefix = f"{key}." if key else ""
        for name, said in value.items():
            path, field = f"{prefix}{name}", fields.get(name)
            if field is None:
                fix = suggestion(name, fields, "write one of them")
                yield self.wrong(path, shown(said), f"is none of the keys {listed}", fix)
            elif field.fixed and base is not None:
                rule, fix = (
                    "is fixed by the image, and its health check asks there",
                    "override port, the number on the node,",
                )
                yield self.wrong(path, shown(said), rule, fix)
            else:
                yield from self.value(path, said, field, below(base, name))
        for name, field in fields.items():
            if base is None and field.required and name not in value:
                yield self.wrong(f"{prefix}{name}", "missing", f"must be {field.says}", "add it")

    def value(self, key: str, value: object, field: Field, base: object) -> Iterator[str]:
        """Yield the mistakes in the value of a known key, and in what is below it."""
        if value is None and field.nullable:
            return
        if not field.kind.holds(value):
            yield self.wrong(key, shown(value), f"must be {field.says}")
        elif field.kind.words:
            known = self.words[field.kind.words]
            rule = f"must be one of {', '.join(known) or 'its ports, and it has none'}"
            for word in value if isinstance(value, list) else [value]:
                if word not in known:
                    fix = suggestion(word, known, "write one of them") if known else "write null"
                    yield self.wrong(key, shown(word), rule, fix)
        elif isinstance(value, list):
            for number, item in enumerate(value if field.keys else []):
                yield from self.mapping(f"{key}.{number}", item, field.keys, None)
        elif field.kind is NAMED and isinstance(value, Mapping):
            for name, item in value.items():
                if isinstance(base, Mapping) and name not in base:
                    fix = suggestion(name, map(str, base)) if base else "remove it"
                    yield self.wrong(f"{key}.{name}", shown(item), "is none that the service has", fix)
                else:
                    yield from self.mapping(f"{key}.{name}", item, field.keys, below(base, name))
        elif field.keys:
            yield from self.mapping(key, value, field.keys, base)

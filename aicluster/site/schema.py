"""How the keys of a file are described, and the one reader that holds a file to such a description."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .rules import is_names, is_text, shown, suggestion


class Kind(NamedTuple):
    """What a value must be: `holds`, which `says` puts in words behind "must be"."""

    holds: Callable[[Any], bool]
    says: str
    # What the value, or each item of it, is one of: these words, or those a reader has under this name.
    words: str | tuple[str, ...] = ""


class Field(NamedTuple):
    """A key of the file; `keys`: those of the mapping, or of each mapping in it.

    `fixed`: why a site cannot override it, and what to do instead.
    """

    kind: Kind
    meaning: str
    required: bool = True
    nullable: bool = False
    keys: Mapping[str, "Field"] = {}
    fixed: tuple[str, str] | None = None

    @property
    def says(self) -> str:
        """Return what the value must be."""
        return self.kind.says.format(", ".join(self.keys)) + (", or null" if self.nullable else "")


def is_template(value: object) -> bool:
    """Tell whether a value is a text that Jinja turns into the real one."""
    return isinstance(value, str) and "{{" in value


def is_kind(*kinds: type) -> Callable[[Any], bool]:
    """Return the predicate "of one of these types"."""
    return lambda value: isinstance(value, kinds)


ONE, NAMED = (
    Kind(is_kind(Mapping), "a mapping with {}"),
    Kind(is_kind(Mapping), "a mapping from name to {{{}}}"),
)
LISTED = Kind(is_kind(list), "a list of mappings with {}")
MAPPING = Kind(is_kind(Mapping), "a mapping")
NAME, NAMES = Kind(is_text, "a name"), Kind(is_names, "a list of names")


def below(base: object, name: object) -> object:
    """Return what an override of a key lies over; what is no mapping stands for what should be in it."""
    return base.get(name) if isinstance(base, Mapping) else base


@dataclass(frozen=True)
class Reader:
    """Reads one entry; its sentences name a key by its path. `words`: what a kind's `words` stands for.

    `templates`: a text that is still to be rendered may stand for any value.
    """

    subject: str
    place: str
    words: Mapping[str, Sequence[str]]
    templates: bool = False

    def wrong(self, key: str, value: str, rule: str, fix: str = "correct it") -> str:
        """Return the sentence about one mistake."""
        return f"{key}{' of ' if key else ''}{self.subject} {value}: {rule}; {fix} in {self.place}"

    def mapping(self, key: str, value: object, fields: Mapping[str, Field], base: object) -> Iterator[str]:
        """Yield the mistakes in a mapping; keys may be missing if it overrides `base`, mistaken or not."""
        known = [name for name, field in fields.items() if base is None or not field.fixed]
        listed = ", ".join(known)
        if not isinstance(value, Mapping) or (base is None and not value):
            yield self.wrong(key, shown(value), f"must be a mapping with {listed}")
            return
        prefix = f"{key}." if key else ""
        for name, said in value.items():
            path, field = f"{prefix}{name}", fields.get(name)
            if field is None:
                fix = suggestion(name, known, "write one of them")
                yield self.wrong(path, shown(said), f"is not among the keys {listed}", fix)
            elif field.fixed and base is not None:
                yield self.wrong(path, shown(said), *field.fixed)
            else:
                yield from self.value(path, said, field, below(base, name))
        for name, field in fields.items():
            if base is None and field.required and name not in value:
                yield self.wrong(f"{prefix}{name}", "missing", f"must be {field.says}", "add it")

    def value(self, key: str, value: object, field: Field, base: object) -> Iterator[str]:
        """Yield the mistakes in the value of a known key, and in what is below it."""
        if (value is None and field.nullable) or (self.templates and is_template(value)):
            return
        if not field.kind.holds(value):
            yield self.wrong(key, shown(value), f"must be {field.says}")
        elif field.kind.words:
            named = field.kind.words
            known = self.words[named] if isinstance(named, str) else named
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
                    yield self.wrong(f"{key}.{name}", shown(item), "is not among those of the service", fix)
                else:
                    yield from self.mapping(f"{key}.{name}", item, field.keys, below(base, name))
        elif field.keys:
            yield from self.mapping(key, value, field.keys, base)

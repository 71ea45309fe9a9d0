"""JSON files we share with others: our part is merged into what others wrote, and can be taken out again."""

import json
import os
import stat

from . import system
from .state import read_state
from .units import forget_starts


def as_json(value):
    """Return JSON as people read it."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def merged(content, fragment):
    """Return the JSON object `content` with `fragment` over it, mappings key by key."""
    after = dict(content)
    for key, value in fragment.items():
        there = content.get(key)
        after[key] = dict(there, **value) if isinstance(value, dict) and isinstance(there, dict) else value
    return after


def overridden(content, fragment):
    """Return what `fragment` overrides: [[keys], [value there] or []]; of a mapping, key by key."""
    records = []
    for key, value in sorted(fragment.items()):
        there = content.get(key, {})
        if isinstance(value, dict) and isinstance(there, dict):
            records += [[[key, name], [there[name]] if name in there else []] for name in sorted(value)]
        else:
            records.append([[key], [there] if key in content else []])
    return records


def restored(content, records):
    """Return the JSON object `content` as it was before us; `records` are what `overridden` returned."""
    for keys, value in records:
        content = with_value(content, keys, value)
    return content


def with_value(content, keys, value):
    """Return the JSON object `content` with `value` at the end of `keys`: [value], or [] for none."""
    key, rest = keys[0], keys[1:]
    if rest:
        there = content.get(key)
        inner = with_value(there if isinstance(there, dict) else {}, rest, value)
        value = [inner] if inner else []
    left = {name: other for name, other in content.items() if name != key}
    return dict(left, **{key: value[0]}) if value else left


def without_our_part(path, records):
    """Return the JSON object others have in the shared file `path`."""
    try:
        return restored(json.loads(system.read_text(path) or "{}"), records)
    except ValueError as error:
        raise system.RefusedError(
            "%s: must be JSON, because our part is merged into it: %s; correct it" % (path, error)
        )


def compare_shared(want, records):
    """Return None when our part is in the file as wanted, else {path, reason, before, after}."""
    text = system.read_text(want["path"])
    after = merged(without_our_part(want["path"], records), want["fragment"])
    if text and json.loads(text) == after:
        return None
    reason = "content" if text else "missing"
    return {"path": want["path"], "reason": reason, "before": text, "after": as_json(after)}


def remove_our_part(path, records):
    """Take our part out of a shared file; the file stays."""
    found = os.stat(path)
    content = as_json(without_our_part(path, records)).encode()
    system.replace_file(path, content, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def restore(_request):
    """Take our part out of all shared files; the records of what they held stay."""
    for path, records in read_state()["fragments"].items():
        if records and os.path.isfile(path):
            remove_our_part(path, records)
    forget_starts([system.ENGINE_UNIT])
    return {"changed": False}

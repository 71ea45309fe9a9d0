"""Renders what the roles of a node want."""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backup.drills import drill_programs
from ..backup.stores import STORE
from ..errors import SiteError
from ..toolkit.files import LEFTOVERS
from .declared import FOUNDATION, declared, problems
from .files import STACK_ROOT, File


def refuse(problems_found: Iterable[str]) -> None:
    """Raise SiteError with all the sentences, if there is one."""
    if found := list(problems_found):
        raise SiteError("\n".join(found))


class Renderer:
    """Renders what the roles of a node want; the only part that uses Ansible's templar and reads the disk."""

    def __init__(
        self,
        templar: Any,
        loader: Any,
        trust: Callable[[str], str],
        task_vars: Mapping[str, Any],
        roles: Path,
        extra_vars: Mapping[str, Any],
    ) -> None:
        """Resolve the cluster once: it is the same for every template of the node.

        `trust` marks a text as a template, as Ansible's `trust_as_template` does.
        """
        self._templar, self._loader, self._trust = templar, loader, trust
        self._vars, self._roles, self._extra_vars = task_vars, roles, dict(extra_vars)
        self.shared: dict[str, Any] = {
            name: self.value(name, task_vars)
            for name in ("cluster_nodes", "site_secrets", "site_image_mirror")
        }
        host = task_vars["inventory_hostname"]
        self.shared["cluster_node"] = next(n for n in self.shared["cluster_nodes"] if n["host"] == host)

    def _resolve(self, template: Any, variables: Any) -> Any:
        return self._templar.copy_with_new_env(available_variables=variables).template(template)

    def _yaml(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        # "unsafe": without a copy, which would take longer than reading. Nobody here changes it.
        return self._loader.load_from_file(str(path), unsafe=True, trusted_as_template=True) or {}

    def variables(self, role: str, extra: Mapping[str, Any]) -> ChainMap[str, Any]:
        """Return a role's variables: defaults lowest, then inventory, its vars, -e, what the engine adds."""
        folder = self._roles / role
        return ChainMap(
            {**self.shared, **extra},
            self._extra_vars,
            self._yaml(folder / "vars" / "main.yml"),
            dict(self._vars),
            self._yaml(folder / "defaults" / "main.yml"),
        )

    def value(self, expression: str, variables: Mapping[str, Any]) -> Any:
        """Return the value of an expression over a role's variables."""
        return self._resolve(self._trust(f"{{{{ {expression} }}}}"), variables)

    def state(self, role: str, variables: ChainMap[str, Any]) -> dict[str, Any]:
        """Return what the role declares, rendered; raise SiteError for what it cannot mean."""
        said = declared(role, self._yaml(self._roles / role / "meta" / "service.yml"), variables)
        state = {key: self._resolve(value, variables) for key, value in said.items()}
        if role not in FOUNDATION:
            refuse(problems(role, state))
        return state

    def holds(self, condition: str, variables: ChainMap[str, Any], probe: Any) -> bool:
        """Evaluate a service's `provision.when` with the probe's answer."""
        templar = self._templar.copy_with_new_env(available_variables=variables.new_child({"probe": probe}))
        return bool(templar.evaluate_conditional(self._trust(condition)))

    def files(self, role: str, variables: ChainMap[str, Any], uid: int) -> list[File]:
        """Return the role's rendered tree; the path below templates/ is the path on the node."""
        root = self._roles / role / "templates"
        # Also what other roles offer for inclusion, as `<role>/<file>`.
        searchpath = [str(root), str(self._roles / role), str(self._roles)]
        templar = self._templar.copy_with_new_env(searchpath=searchpath, available_variables=variables)
        rendered = []
        for source in template_sources(root):
            path = f"/{source.relative_to(root)}"
            if source.suffix == ".j2":
                path = path.removesuffix(".j2")
                text = templar.template(
                    self._trust(source.read_text()), escape_backslashes=False, overrides={"trim_blocks": True}
                )
                if text is None:  # nothing but false conditions
                    continue
                if not isinstance(text, str):
                    raise SiteError(f"{role}: {source.name} rendered to {type(text).__name__}, not to text")
                if not text.strip():
                    continue
                content = text.encode()
            else:
                content = source.read_bytes()
            executable = bool(source.stat().st_mode & 0o100)
            file = File(path, content, role, "0755" if executable else "0644")
            rendered.append(replace(file, mode="0400", uid=uid, gid=uid) if file.secret else file)
        return [*rendered, *self._drills()] if role == STORE else rendered

    def _drills(self) -> list[File]:
        """Return the programs of other services that this store runs; the preflight knows they are there."""
        programs = drill_programs(self.shared["cluster_nodes"], self.shared["cluster_node"]["host"])
        return [
            File(f"{STACK_ROOT}/{STORE}/drills/{service}.py", (self._roles / path).read_bytes(), STORE)
            for service, path in programs.items()
        ]


def template_sources(root: Path) -> list[Path]:
    """Return the files of a role's tree in a fixed order, without what editors and others leave behind."""
    return sorted(path for path in root.rglob("*") if path.is_file() and not LEFTOVERS.fullmatch(path.name))

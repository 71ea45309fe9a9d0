"""Keep the derived parts of the documentation derived: `docs/generate.py` writes, `--check` only compares.

A role's README holds its variables between two marker lines; the table comes from meta/argument_specs.yml.
docs/reference/ is written whole, from the production inventory as Ansible resolves it.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import reference
import yaml
from aicluster_lab.ask import ask

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
BEGIN, END = "<!-- variables: written by docs/generate.py -->", "<!-- /variables -->"


def shown(value: object) -> str:
    """Return a default as one would type it in YAML."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
    )


def variable_table(options: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of a role's options; the sentence of each is its description."""
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        meaning = option["description"]
        meaning = " ".join(meaning if isinstance(meaning, list) else [meaning]).replace("|", "\\|")
        rows.append(f"| `{name}` | {option['type']} | `{shown(option.get('default'))}` | {meaning.strip()} |")
    return "\n".join(rows)


def between(text: str, begin: str, end: str, table: str) -> str:
    """Return a page with the table between its markers."""
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


FLOWS_BEGIN, FLOWS_END = "<!-- flows: written by docs/generate.py -->", "<!-- /flows -->"


def flows() -> dict[str, dict[str, str]]:
    """Return service -> flow -> what its check asks of it: the constant FLOWS of the check."""
    found = {}
    for path in sorted(ROOT.glob("roles/*/templates/opt/aicluster/checks/*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["FLOWS"]:
                found[path.stem] = dict(ast.literal_eval(node.value))
    return found


def production() -> dict[str, Any]:
    """Return {nodes, budget} of the production inventory: cluster_nodes and its accounts."""
    [site] = ask(ROOT, (), "nodes[0]", "{'nodes': cluster_nodes, 'budget': cluster_nodes | node_budget}")
    return dict(site)


def reference_pages() -> dict[Path, str]:
    """Return the pages of docs/reference/."""
    site = production()
    exceptions = {
        path.parents[1].name: yaml.safe_load(path.read_text())
        for path in sorted(ROOT.glob("roles/*/meta/hardening.yml"))
    }
    return {
        REFERENCE / "services.md": reference.services_page(site["nodes"]),
        REFERENCE / "service-fields.md": reference.fields_page(),
        REFERENCE / "ports.md": reference.ports_page(site["nodes"]),
        REFERENCE / "memory.md": reference.memory_page(site["nodes"], site["budget"]),
        REFERENCE / "hardening.md": reference.hardening_page(exceptions),
        REFERENCE / "lab.md": reference.lab_page(site["nodes"], ROOT),
    }


def derived() -> dict[Path, str]:
    """Return every file with a derived part, and what it should hold."""
    wanted = reference_pages()
    operate = ROOT / "docs" / "operate.md"
    wanted[operate] = between(operate.read_text(), FLOWS_BEGIN, FLOWS_END, reference.flows_table(flows()))
    for spec in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        readme = spec.parents[1] / "README.md"
        options = yaml.safe_load(spec.read_text())["argument_specs"]["main"].get("options") or {}
        if options and readme.is_file():
            wanted[readme] = between(readme.read_text(), BEGIN, END, variable_table(options))
    return wanted


def main(arguments: list[str]) -> int:
    """Write or compare; return the number of files that differ when comparing."""
    stale = {path: text for path, text in derived().items() if not path.is_file() or path.read_text() != text}
    for path, text in stale.items():
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return len(stale) if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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
HEADING = "## Variables"
BEGIN, END = "<!-- variables: written by docs/generate.py -->", "<!-- /variables -->"


def shown(value: object) -> str:
    """Return a default as one would type it in YAML."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
    )


def variable_table(options: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of a role's options; the sentence of each is its description."""
    if not options:
        return "This role has no variables."
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        meaning = option["description"]
        meaning = " ".join(meaning if isinstance(meaning, list) else [meaning]).replace("|", "\\|")
        rows.append(f"| `{name}` | {option['type']} | `{shown(option.get('default'))}` | {meaning.strip()} |")
    return "\n".join(rows)


def with_table(readme: str, table: str) -> str:
    """Return the README with the table between its markers.

    Where they are missing they follow the heading, which is added at the end if it is missing, too.
    """
    if BEGIN not in readme:
        if HEADING not in readme.splitlines():
            readme = f"{readme.rstrip()}\n\n{HEADING}\n"
        before, _, after = f"{readme.rstrip()}\n".partition(f"\n{HEADING}\n")
        readme = f"{before}\n{HEADING}\n\n{BEGIN}\n{END}\n{after}"
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


FLOWS_BEGIN, FLOWS_END = "<!-- flows: written by docs/generate.py -->", "<!-- /flows -->"


def flows() -> dict[str, dict[str, str]]:
    """Return service -> flow -> what its check asks of it: the constant FLOWS of the check."""
    found = {}
    for path in sorted(ROOT.glob("roles/*/templates/opt/aicluster/checks/*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["FLOWS"]:
                found[path.stem] = dict(ast.literal_eval(node.value))
    return found


def with_flows(text: str, table: str) -> str:
    """Return a page with the table between its markers, which must be there."""
    head, _, rest = text.partition(FLOWS_BEGIN)
    return f"{head}{FLOWS_BEGIN}\n{table}\n{FLOWS_END}{rest.partition(FLOWS_END)[2]}"


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
        REFERENCE / "lab.md": reference.lab_page(site["nodes"], ROOT / "lab"),
    }


def derived() -> dict[Path, str]:
    """Return every file with a derived part, and what it should hold."""
    wanted = reference_pages()
    operate = ROOT / "docs" / "operate.md"
    wanted[operate] = with_flows(operate.read_text(), reference.flows_table(flows()))
    for spec in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        readme = spec.parents[1] / "README.md"
        options = yaml.safe_load(spec.read_text())["argument_specs"]["main"].get("options") or {}
        if readme.is_file():
            wanted[readme] = with_table(readme.read_text(), variable_table(options))
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

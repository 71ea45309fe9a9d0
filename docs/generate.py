"""Write what the documentation derives: docs/reference/ and the table of variables in each role's README.

The pages come from the production inventory as Ansible resolves it, a table from the files of its role.
"""

import ast
from pathlib import Path
from typing import Any

import reference
import yaml
from aicluster_lab.ask import ask

from aicluster.gateway.users import USER
from aicluster.site.vocabulary import roles_in

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
# What follows it in the README of a role is written here.
HEADING = "## Variables\n"


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


def readmes() -> dict[Path, str]:
    """Return the README of each role with variables, its table up to date."""
    found = {}
    for role, options in roles_in(ROOT / "roles").items():
        readme = ROOT / "roles" / role / "README.md"
        if options:
            head = readme.read_text().partition(HEADING)[0].rstrip()
            found[readme] = f"{head}\n\n{HEADING}\n{variable_table(options)}\n"
    return found


def users_page() -> dict[Path, str]:
    """Return the page about users, its table of fields up to date."""
    path, heading = ROOT / "docs" / "users.md", "## Fields\n"
    head = path.read_text().partition(heading)[0]
    return {path: f"{head}{heading}\n{reference.fields_table(USER)}\n"}


def flows() -> dict[str, dict[str, str]]:
    """Return service -> flow -> what its check asks of it: the constant FLOWS of the check."""
    found = {}
    for path in sorted(ROOT.glob("roles/*/templates/opt/aicluster/checks/*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["FLOWS"]:
                found[path.stem] = dict(ast.literal_eval(node.value))
    return found


def derived() -> dict[Path, str]:
    """Return every file with a derived part, and what it should hold."""
    [nodes] = ask(ROOT, (), "nodes[0]", "cluster_nodes")
    exceptions = {
        path.parents[1].name: yaml.safe_load(path.read_text())
        for path in sorted(ROOT.glob("roles/*/meta/hardening.yml"))
    }
    return {
        **readmes(),
        **users_page(),
        REFERENCE / "flows.md": reference.flows_page(flows()),
        REFERENCE / "services.md": reference.services_page(nodes, ROOT),
        REFERENCE / "service-fields.md": reference.fields_page(),
        REFERENCE / "ports.md": reference.ports_page(nodes),
        REFERENCE / "memory.md": reference.memory_page(nodes),
        REFERENCE / "hardening.md": reference.hardening_page(exceptions),
    }


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for page, text in derived().items():
        page.write_text(text)

"""Write what the documentation derives: docs/reference/, and the table of fields in docs/users.md.

Source: the production inventory as Ansible resolves it, and the files of the roles.
"""

import ast
from pathlib import Path

import reference
import yaml
from aicluster_lab.ask import ask

from aicluster.gateway.users import USER
from aicluster.site.vocabulary import roles_in

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"


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
        **users_page(),
        REFERENCE / "flows.md": reference.flows_page(flows()),
        REFERENCE / "services.md": reference.services_page(nodes, ROOT),
        REFERENCE / "service-fields.md": reference.fields_page(),
        REFERENCE / "ports.md": reference.ports_page(nodes),
        REFERENCE / "memory.md": reference.memory_page(nodes),
        REFERENCE / "variables.md": reference.variables_page(roles_in(ROOT / "roles")),
        REFERENCE / "hardening.md": reference.hardening_page(exceptions),
    }


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for page, text in derived().items():
        page.write_text(text)

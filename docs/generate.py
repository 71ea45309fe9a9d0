"""Write docs/reference/ from the production inventory as Ansible resolves it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import reference
import yaml
from aicluster_lab.ask import ask

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"


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


def derived() -> dict[Path, str]:
    """Return every page of docs/reference/, and what it should hold."""
    site = production()
    exceptions = {
        path.parents[1].name: yaml.safe_load(path.read_text())
        for path in sorted(ROOT.glob("roles/*/meta/hardening.yml"))
    }
    return {
        REFERENCE / "flows.md": reference.flows_page(flows()),
        REFERENCE / "services.md": reference.services_page(site["nodes"], ROOT),
        REFERENCE / "service-fields.md": reference.fields_page(),
        REFERENCE / "ports.md": reference.ports_page(site["nodes"]),
        REFERENCE / "memory.md": reference.memory_page(site["nodes"], site["budget"]),
        REFERENCE / "hardening.md": reference.hardening_page(exceptions),
    }


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for page, text in derived().items():
        page.write_text(text)

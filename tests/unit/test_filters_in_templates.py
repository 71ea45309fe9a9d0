"""Every filter of the cluster's description through Ansible's own templar, with lazy and tagged values."""

from typing import Any

import pytest
from site_description import ansible_plugins, production

SITE = production()
HOSTVARS = [
    {
        **variables,
        "inventory_hostname": host,
        "group_names": [g for g, m in SITE["groups"].items() if host in m],
    }
    for host, variables in SITE["hosts"].items()
]
NODES = "hosts | cluster_nodes(service_catalogue)"


def render(expression: str) -> Any:
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    ansible_plugins()
    variables = {"hosts": HOSTVARS, "service_catalogue": SITE["catalogue"]}
    # What a template hands on is a template of its own, as in group_vars.
    variables["nodes"] = trust_as_template(f"{{{{ {NODES} }}}}")
    return Templar(loader=DataLoader(), variables=variables).template(
        trust_as_template(f"{{{{ {expression} }}}}")
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param(f"{NODES} | map(attribute='name') | sort | first", "AGX0", id="cluster_nodes"),
        pytest.param(
            "nodes | nodes_running('ollama') | map(attribute='name') | sort",
            ["AGX0", "NANO", "ORIN0"],
            id="nodes_running",
        ),
        pytest.param(
            "nodes | service_endpoints('ollama', 'api') | map(attribute='port') | sort",
            [11434, 11434, 11435],
            id="service_endpoints",
        ),
        pytest.param(
            "nodes | service_endpoints('ollama', 'api') | upstream_weights | items2dict('node', 'weight')",
            {"AGX0": 4, "ORIN0": 1, "NANO": 0},
            id="upstream_weights",
        ),
        pytest.param("nodes | node_budget | map(attribute='problems') | flatten", [], id="node_budget"),
    ],
)
def test_a_filter_works_in_a_template(expression, expected):
    assert render(expression) == expected


def test_an_error_of_a_filter_keeps_its_words():
    from ansible.errors import AnsibleError

    with pytest.raises(
        AnsibleError, match=r"upstream_weights: endpoints \[\]: nothing to balance; add the service"
    ):
        render("[] | upstream_weights")

"""The queries of the dashboards, as the Prometheus of the lab reads them."""

import dashboards
import monitoring
import pytest

# Any value will do: what is chosen stands in a string.
CHOSEN = {"node": "PI51", "route": ".*"}
STATES = ["failed", "healthy", "inactive", "starting"]


def expression(dashboard, panel):
    """The one query of a panel, as Prometheus gets it."""
    [expr] = [
        query.expr
        for each in dashboards.rendered()
        for query in dashboards.queries(each)
        if (query.dashboard, query.panel) == (dashboard, panel)
    ]
    return dashboards.filled(expr, CHOSEN)


@pytest.mark.parametrize(("dashboard", "panel", "labels"), [
    ("Cluster overview", "States", '{{node="PI51", name="{}"}}'),
    ("Node", "Services of this node", '{{name="{}"}}'),
    ("AI requests", "Services of the AI nodes", '{{node="PI51", name="{}"}}'),
], ids=["of all nodes", "of one node", "of AI nodes"])  # fmt: skip
def test_a_panel_shows_every_state_a_service_can_be_in(dashboard, panel, labels, tmp_path):
    series = {
        f'aicluster_service_state{{node="PI51", tier="primary_ai", name="is-{now}", state="{state}"}}': int(
            state == now
        )
        for now in STATES
        for state in STATES
    }
    samples = {labels.format(f"is-{state}"): number for number, state in enumerate(STATES)}
    monitoring.answers(expression(dashboard, panel), series, samples, tmp_path)


@pytest.mark.parametrize(("inactive", "away"), [(1, 0), (0, 1)], ids=["inactive", "active, so away"])
def test_ai_nodes_that_should_answer_and_do_not_are_counted(inactive, away, tmp_path):
    health = 'kong_upstream_target_health{{upstream="{}", target="10.0.0.{}", state="healthy"}}'
    series = {
        health.format("ai-chat", "2:11434"): 1,
        health.format("ai-chat", "3:11435"): 0,
        health.format("image", "3:7860"): 0,
        'aicluster_service_state{instance="10.0.0.2:9100", name="ollama", state="inactive"}': 0,
        'aicluster_service_state{instance="10.0.0.3:9100", name="ollama", state="inactive"}': inactive,
        'aicluster_service_state{instance="10.0.0.3:9100", name="comfyui", state="inactive"}': 1,
    }
    monitoring.answers(expression("AI requests", "AI nodes away"), series, {"{}": away}, tmp_path)

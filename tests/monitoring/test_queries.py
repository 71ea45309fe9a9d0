"""The queries of the dashboards, as the Prometheus of the lab reads them."""

import dashboards
import monitoring
import yaml

# Any value will do: what is chosen stands in a string.
CHOSEN = {"node": "PI51", "route": ".*"}


def complaint(exprs, folder):
    """What promtool says against any of the expressions (name -> expression), or nothing."""
    rules = [
        {"record": f"query_{n}", "expr": expr, "labels": {"at": at}}
        for n, (at, expr) in enumerate(exprs.items())
    ]
    groups = {"groups": [{"name": "dashboards", "rules": rules}]}
    (folder / "queries.yml").write_text(yaml.safe_dump(groups, sort_keys=False, width=10_000))
    done = monitoring.shell("prometheus", "promtool check rules queries.yml", folder)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_query_of_a_dashboard_parses(tmp_path):
    exprs = {
        str(query): dashboards.filled(query.expr, CHOSEN)
        for dashboard in dashboards.rendered()
        for query in dashboards.queries(dashboard)
    }
    assert len(exprs) > 60
    assert complaint(exprs, tmp_path) == ""


def test_a_query_that_does_not_parse_is_named(tmp_path):
    assert "query_1" in complaint({"well": "up", "broken": "sum(up"}, tmp_path)

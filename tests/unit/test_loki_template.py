"""What Loki is told where it is chosen: small bounds, and retention that really deletes."""

from typing import Any

import pytest
import render
import yaml

PI41 = "192.168.1.204"


@pytest.fixture(autouse=True)
def chosen(monkeypatch):
    return render.choose(monkeypatch, site_log_store="loki")


def files(**changes: Any) -> dict[str, str]:
    return render.render_role(
        "loki", host=PI41, overrides={"site_log_store": "loki", **changes.pop("overrides", {})}, **changes
    )


def conf(**changes: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(files(**changes)["/opt/aicluster/loki/conf/loki.yaml"])
    return parsed


def service(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files(**changes)["/opt/aicluster/loki/compose.yaml"])["services"][
        "loki"
    ]
    return found


def test_one_variable_replaces_the_store(chosen):
    rendering = render.renderer("production", PI41, chosen)
    placed = rendering.shared["cluster_node"]["services"]
    assert "loki" in placed and "victorialogs" not in placed
    assert placed["log_shipper"]["needs"] == ["loki"]


def test_lines_are_really_deleted():
    found = conf(overrides={"loki_retention_days": 3})
    assert found["compactor"]["retention_enabled"] is True
    assert found["compactor"]["delete_request_store"] == "filesystem"
    assert found["limits_config"]["retention_period"] == "72h"
    assert [one["index"]["period"] for one in found["schema_config"]["configs"]] == ["24h"]


@pytest.mark.parametrize(
    ("memory_mb", "program", "replay"), [(512, "409MiB", "128MB"), (1024, "819MiB", "256MB")]
)
def test_memory_is_bounded_by_the_catalogue(memory_mb, program, replay):
    entry = {"memory_mb": memory_mb}
    assert service(entry=entry)["environment"]["GOMEMLIMIT"] == program
    assert conf(entry=entry)["ingester"]["wal"]["replay_memory_ceiling"] == replay


def test_the_container_leaves_the_journals_port_to_the_translator():
    assert service()["ports"] == [f"{PI41}:3100:3100"]
    unit = files()["/etc/systemd/system/aicluster-journal-to-loki.service"]
    assert f"journal_to_loki.py {PI41}:3101 http://{PI41}:3100" in unit


def test_it_sends_nothing_home():
    assert conf()["analytics"] == {"reporting_enabled": False}

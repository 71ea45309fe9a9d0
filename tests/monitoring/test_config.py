"""The configuration of both Prometheus and of the probes, read by the programs themselves."""

from pathlib import Path

import monitoring
import pytest
import render

CONF = "/opt/aicluster/prometheus/"
PLACED = [
    pytest.param(inventory, host, id=f"{inventory}-{host}")
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("prometheus", inventory)
]


def write(files: dict[str, str], folder: Path) -> None:
    for path, text in files.items():
        target = folder / path.removeprefix(CONF)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.mark.parametrize(("inventory", "host"), PLACED)
def test_promtool_takes_the_configuration(inventory, host, tmp_path):
    write(render.render_role("prometheus", inventory=inventory, host=host), tmp_path)
    monitoring.succeeds("prometheus", "promtool check config prometheus.yml", tmp_path)


@pytest.mark.parametrize("service", ["prometheus", "alertmanager"])
def test_the_program_knows_every_option_it_is_started_with(service, tmp_path):
    """With a configuration that is missing it gets as far as reading its options, and no further."""
    command = render.compose_of(service)["services"][service]["command"]
    options = " ".join(f"'{option}'" for option in command if not option.startswith("--config.file="))
    done = monitoring.shell(service, f"{service} --config.file=missing.yml {options}", tmp_path)
    assert done.returncode != 0
    assert "missing.yml" in done.stderr, done.stderr
    assert "flag" not in done.stderr.lower(), done.stderr

"""What Alertmanager is told. Where its routes lead is asked of amtool: tests/monitoring/test_routes.py."""

from typing import Any

import pytest
import render
import yaml

CONF = "/opt/aicluster/alertmanager/"
SECRET_URL = "https://hooks.invalid/T0KEN"


def config(**overrides: Any) -> dict[str, Any]:
    text = render.render_role("alertmanager", overrides=overrides)[CONF + "alertmanager.yml"]
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def receivers(**overrides: Any) -> dict[str, dict[str, Any]]:
    return {receiver["name"]: receiver for receiver in config(**overrides)["receivers"]}


@pytest.mark.parametrize("name", ["page", "default", "deadman"])
def test_a_receiver_without_a_url_tells_nobody(name):
    overrides = {f"alertmanager_{name}_url": ""}
    assert receivers(**overrides)[name] == {"name": name}
    assert CONF + f"secrets/{name}_url" not in render.render_role("alertmanager", overrides=overrides)


@pytest.mark.parametrize("name", ["page", "default", "deadman"])
def test_a_url_is_in_a_secret_file_and_nowhere_else(name):
    overrides = {f"alertmanager_{name}_url": SECRET_URL}
    [webhook] = receivers(**overrides)[name]["webhook_configs"]
    assert webhook == {"url_file": f"/etc/alertmanager/secrets/{name}_url"}
    files = render.files_of("alertmanager", overrides=overrides)
    [secret] = [file for file in files if SECRET_URL in file.content.decode()]
    assert secret.path == CONF + f"secrets/{name}_url"
    assert (secret.content.decode().strip(), secret.mode, secret.uid) == (SECRET_URL, "0400", 65534)

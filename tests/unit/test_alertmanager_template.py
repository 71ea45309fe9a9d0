"""What Alertmanager is told. Where its routes lead is asked of amtool: tests/monitoring/test_routes.py."""

from typing import Any

import pytest
import render
import yaml

from aicluster.engine.files import File

CONF = "/opt/aicluster/alertmanager/"
SECRET_URL = "https://hooks.invalid/T0KEN"


def rendered(name: str, url: str) -> tuple[dict[str, Any], list[File]]:
    """A receiver and all files, where this is its URL."""
    files = render.files_of("alertmanager", overrides={f"alertmanager_{name}_url": url})
    [text] = [file.content for file in files if file.path == CONF + "alertmanager.yml"]
    receivers = {one["name"]: one for one in yaml.safe_load(text)["receivers"]}
    return receivers[name], files


every_receiver = pytest.mark.parametrize("name", ["page", "default", "deadman"])


@every_receiver
def test_a_receiver_without_a_url_tells_nobody(name):
    receiver, files = rendered(name, "")
    assert receiver == {"name": name}
    assert CONF + f"secrets/{name}_url" not in [file.path for file in files]


@every_receiver
def test_a_url_is_in_a_secret_file_and_nowhere_else(name):
    receiver, files = rendered(name, SECRET_URL)
    assert receiver["webhook_configs"] == [{"url_file": f"/etc/alertmanager/secrets/{name}_url"}]
    [secret] = [file for file in files if SECRET_URL in file.content.decode()]
    assert secret.path == CONF + f"secrets/{name}_url"
    assert (secret.content.decode().strip(), secret.mode, secret.uid) == (SECRET_URL, "0400", 65534)

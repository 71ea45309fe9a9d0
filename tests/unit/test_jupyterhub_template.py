"""What JupyterHub is told, and what its first process makes of the image."""

import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import render
from by_path import import_file
from tree import ROOT

BIN = "roles/jupyterhub/templates/opt/aicluster/jupyterhub/bin"
LOCK = ROOT / "roles/jupyterhub/templates/opt/aicluster/jupyterhub/conf/requirements.txt"
start = import_file(f"{BIN}/start.py", "jupyterhub_start")
start_notebook = import_file(f"{BIN}/start_notebook.py", "jupyterhub_start_notebook")
IMAGE = dict.fromkeys(
    ("jupyterhub.app", "jupyterhub.spawner", "traitlets.config"),
    mock.MagicMock(SimpleLocalProcessSpawner=object),
)
with mock.patch.dict(sys.modules, IMAGE):
    hub = import_file(f"{BIN}/hub.py", "jupyterhub_hub")


def configuration(**overrides: Any) -> dict[str, Any]:
    files = render.render_role("jupyterhub", overrides=overrides)
    settings = json.loads(files["/opt/aicluster/jupyterhub/conf/settings.json"])
    found: dict[str, Any] = hub.configuration(settings, "pw", "token")
    return found


def test_a_users_home_belongs_to_an_id_of_his_own_although_the_image_brought_it(tmp_path, monkeypatch):
    given: list[Any] = []
    monkeypatch.setattr("os.chown", lambda *what: given.append(what))
    (tmp_path / "ubuntu").mkdir()
    home, _ = hub.home_of("ubuntu", tmp_path)
    assert given == [(home, 200000, 200000)]


def said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_next_start_keeps_what_is_installed_follows_the_hubs_packages_and_mends_python(tmp_path):
    environment = start_notebook.environment_of(tmp_path)
    python = environment / "bin/python"
    start_notebook.make(environment, [sysconfig.get_path("purelib")])
    own = Path(said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (own / "mine.py").write_text("print('here')")
    start_notebook.make(environment, ["/srv/jupyter/env-new"])
    assert (own / "hub.pth").read_text() == "/srv/jupyter/env-new\n"
    python.unlink()
    python.symlink_to(tmp_path / "no-such-python")
    start_notebook.make(environment, [])
    assert said(python, "-c", "import mine") == "here"


@pytest.mark.parametrize(("users", "allow_all", "allowed"), [
    pytest.param([], True, set(), id="without names anyone with the password"),
    pytest.param(["ada"], False, {"ada", "aicluster-verify"}, id="with names these, and verify"),
])  # fmt: skip
def test_who_may_log_in_needs_the_password(users, allow_all, allowed):
    found = configuration(jupyterhub_users=users)
    assert found["JupyterHub"]["authenticator_class"] == "shared-password", "never the dummy one"
    assert found["SharedPasswordAuthenticator"] == {"user_password": "pw"}
    assert found["Authenticator"]["allow_all"] is allow_all
    assert found["Authenticator"]["allowed_users"] == allowed


def test_a_name_becomes_a_folder_and_nothing_else():
    pattern = configuration()["Authenticator"]["username_pattern"]
    names = ["ada", "aicluster-verify", "../root", "a/b", "", "-x"]
    assert [name for name in names if re.match(pattern, name)] == ["ada", "aicluster-verify"]


def test_the_lock_pins_what_was_asked_for_and_everything_it_needs():
    wanted = tomllib.loads((ROOT / "roles/jupyterhub/files/pyproject.toml").read_text())["project"]
    asked, pinned = start.pins("\n".join(wanted["dependencies"])), start.pins(LOCK.read_text())
    assert len(asked) == len(wanted["dependencies"]) and asked.items() <= pinned.items()
    assert len(pinned) > 50


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The environments that were installed, by writing that down."""
    monkeypatch.setattr(start, "PACKAGES", tmp_path)
    found: list[Path] = []

    def install(environment: Path) -> None:
        found.append(environment)
        environment.mkdir(exist_ok=True)
        (environment / start.MARKER).write_text("")

    monkeypatch.setattr(start, "install", install)
    return found


def test_an_image_that_has_everything_is_used_as_it_is(installed):
    lock = f"pytest=={start.importlib.metadata.version('pytest')} \\\n    --hash=sha256:0\n"
    assert start.prepared(lock) == Path(sys.executable)
    assert not installed


def test_what_the_image_lacks_is_installed_once_for_a_lock_and_the_old_environment_goes(installed):
    python = [start.prepared(f"pyyaml==0.{version}\n") for version in "112"]
    assert [path.exists() for path in installed] == [False, True]
    assert python == [installed[at] / "bin/python" for at in (0, 0, 1)]


def test_an_environment_that_was_interrupted_is_made_anew(installed):
    half = start.environment_of("no-such-package==1\n")
    half.mkdir()
    start.prepared("no-such-package==1\n")
    assert installed == [half]


@pytest.mark.usefixtures("installed")
def test_without_an_index_the_reason_and_the_way_out_are_said(monkeypatch):
    def fail(_environment: Path) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(start, "install", fail)
    with pytest.raises(SystemExit, match="jupyterhub_pip_index_url"):
        start.prepared("no-such-package==1\n")

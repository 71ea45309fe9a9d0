"""What JupyterHub is told, and what its first process makes of the image."""

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from unittest import mock

import pytest
import render
from by_path import import_file
from tree import ROOT

BIN = "roles/jupyterhub/templates/opt/aicluster/jupyterhub/bin"
LOCK = ROOT / "roles/jupyterhub/templates/opt/aicluster/jupyterhub/conf/requirements.txt"
start = import_file(f"{BIN}/start.py", "jupyterhub_start")
start_notebook = import_file(f"{BIN}/start_notebook.py", "jupyterhub_start_notebook")
hub_users = import_file(f"{BIN}/hub_users.py", "jupyterhub_hub_users")
IMAGE = dict.fromkeys(
    ("jupyterhub.app", "jupyterhub.auth", "jupyterhub.spawner", "traitlets.config"),
    mock.MagicMock(SimpleLocalProcessSpawner=object, Authenticator=object),
)
with mock.patch.dict(sys.modules, IMAGE | {"hub_users": hub_users}):
    hub = import_file(f"{BIN}/hub.py", "jupyterhub_hub")
    provision = import_file(f"{BIN}/provision", "jupyterhub_provision")


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
    own.rename(tmp_path / "away")
    start_notebook.make(environment, [])


USERS = render.with_users(
    {"name": "anna", "role": "user", "keys": [{"name": "old", "until": "2999-06-29"}, {"name": "main"}]},
    {"name": "ben", "role": "admin", "keys": [{"name": "last", "until": "2999-06-30"}]},
    {"name": "ci", "role": "service"},
    {"name": "carl", "role": "user", "enabled": False},
)
FILE = "/opt/aicluster/jupyterhub/secrets/users.json"


def test_the_password_of_an_index_means_nothing_to_compose():
    index = {"jupyterhub_pip_index_url": 'https://me:pa$word"{1}@host/simple'}
    found = render.container("jupyterhub", overrides=index)["environment"]["PIP_INDEX_URL"]
    assert found == 'https://me:pa$$word"{1}@host/simple'


@pytest.mark.parametrize(("day", "name", "key", "admin"), [
    pytest.param("2999-06-29", "anna", "made-up-user-anna-old", False, id="a key on its last day"),
    pytest.param("2999-06-30", "anna", "made-up-user-anna-old", None, id="a key the day after"),
    pytest.param("2999-06-30", "anna", "made-up-user-anna-main", False, id="another key of the same user"),
    pytest.param("2999-06-30", "anna", "made-up-user-ben-last", None, id="the key of somebody else"),
    pytest.param("2999-06-30", "anna", "made-up-jupyterhub-password", None, id="the former shared password"),
    pytest.param("2999-06-30", "ben", "made-up-user-ben-last", True, id="an administrator of the site"),
    pytest.param("2999-07-01", "ben", "made-up-user-ben-last", None, id="a user without a valid key"),
    pytest.param("2999-06-30", "ci", "made-up-user-ci-main", None, id="a program"),
    pytest.param("2999-06-30", "carl", "made-up-user-carl-main", None, id="a user that is not enabled"),
    pytest.param("2999-06-30", "../root", "made-up-user-anna-main", None, id="nobody's name"),
    pytest.param("2999-06-30", "aicluster-verify", "made-up-jupyterhub-password", False, id="the check"),
])  # fmt: skip
async def test_who_may_log_in_has_a_key_of_his_own(day, name, key, admin, monkeypatch):
    text = render.render_role("jupyterhub", overrides=USERS)[FILE]
    assert "made-up" not in text, "hashes alone"
    monkeypatch.setattr(hub_users, "users_now", lambda: hub_users.users(text, day))
    door = hub.KeyAuthenticator()
    door.normalize_username = str
    expected = None if admin is None else {"name": name, "admin": admin}
    assert await door.authenticate(None, {"username": name, "password": key}) == expected


ANNA = {"admin": False, "keys": ["1", "2"]}


@pytest.mark.parametrize(("before", "now", "stays"), [
    pytest.param(ANNA, ANNA, True, id="nothing changed"),
    pytest.param(ANNA, {"admin": False, "keys": ["3", "2", "1"]}, True, id="another key"),
    pytest.param(ANNA, {"admin": False, "keys": ["2"]}, False, id="a key is not valid any more"),
    pytest.param(ANNA, {"admin": True, "keys": ["1", "2"]}, False, id="another role"),
    pytest.param(ANNA, None, False, id="no user any more"),
    pytest.param(None, ANNA, False, id="let in with the former shared password"),
])  # fmt: skip
def test_who_lost_a_right_is_logged_out(before, now, stays):
    assert provision.is_still_good(before, now) is stays


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


def test_packages_are_on_the_disk_before_they_count(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "PACKAGES", tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_command, **_keys: (tmp_path / "env").mkdir(exist_ok=True))
    marked: list[bool] = []
    monkeypatch.setattr("os.sync", lambda: marked.append((tmp_path / "env" / start.MARKER).exists()))
    start.install(tmp_path / "env")
    assert marked == [False] and (tmp_path / "env" / start.MARKER).exists()


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

"""What the role `pgadmin` puts on its node: who signs in, what is listed, what is told to nobody."""

import json
from copy import deepcopy
from typing import Any

import pytest
import render
from by_path import import_file

HOME = "/opt/aicluster/pgadmin/"
HOST, ADDRESS = "192.168.1.247", "192.168.1.247"
PROVISION = "roles/pgadmin/templates/opt/aicluster/pgadmin/bin/provision.py"


def container(**where: Any) -> dict[str, Any]:
    merged: dict[str, Any] = render.compose_of("pgadmin", **{"host": HOST, **where})["services"]["pgadmin"]
    return merged


def servers(nodes: list[dict[str, Any]] | None = None, **variables: Any) -> list[dict[str, Any]]:
    """The listed databases; `nodes` is the cluster if not that of production."""
    overrides = variables | ({"cluster_nodes": nodes} if nodes else {})
    files = render.render_role("pgadmin", host=HOST, overrides=overrides or None)
    return list(json.loads(files[f"{HOME}servers.json"])["Servers"].values())


def moved(to_tier: str, reach: list[str]) -> list[dict[str, Any]]:
    """Production with PostgreSQL taken from its node to the first one of a tier, its port open to `reach`."""
    nodes = deepcopy(render.cluster("production"))
    entry = next(node["services"].pop("postgres") for node in nodes if "postgres" in node["services"])
    entry["ports"]["sql"] = {"port": 5433, "container": 5432, "from": reach}
    next(node for node in nodes if node["tier"] == to_tier)["services"]["postgres"] = entry
    return nodes


def test_the_password_the_image_exports_to_the_server_is_one_that_opens_nothing():
    mounted = {volume.split(":")[1] for volume in container()["volumes"]}
    assert container()["environment"]["PGADMIN_DEFAULT_PASSWORD_FILE"] == "/proc/sys/kernel/random/uuid"
    assert "/proc/sys/kernel/random/uuid" not in mounted, "it is the kernel's: another text each time"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("UPGRADE_CHECK_ENABLED", "False", id="the maker is not asked for versions"),
        pytest.param("SHOW_GRAVATAR_IMAGE", "False", id="nobody's face is fetched"),
        pytest.param("LLM_ENABLED", "False", id="no schema goes to a language model"),
        pytest.param("PROXY_X_FOR_COUNT", "0", id="the address of a browser is not what a header says"),
    ],
)
def test_nothing_leaves_the_cluster_and_no_header_is_believed(name, value):
    assert container()["environment"][f"PGADMIN_CONFIG_{name}"] == value


def test_a_database_on_another_node_is_reached_at_its_published_port():
    [server] = servers(moved("primary_ai", ["backend"]))
    node = next(node for node in render.cluster("production") if node["tier"] == "primary_ai")
    assert (server["Name"], server["Host"], server["Port"]) == (node["name"], node["address"], 5433)


def test_a_database_that_does_not_let_this_node_in_is_not_listed():
    assert servers(moved("primary_ai", ["gateway"])) == []


def test_no_password_of_a_database_is_preloaded():
    assert not [key for server in servers() for key in server if "pass" in key.lower()]


class User:
    """A user as pgAdmin's own model has it."""

    def __init__(self, password: str, locked: bool = False, attempts: int = 0) -> None:
        self.password, self.locked, self.login_attempts = f"hash of {password}", locked, attempts


class Pretended:
    """pgAdmin's modules as far as provisioning uses them, around one user or none."""

    def __init__(self, user: User | None) -> None:
        self.user, self.commits, self.asked = user, 0, dict[str, str]()
        self.User = self.query = self.db = self.session = self

    def filter_by(self, **asked: str) -> "Pretended":
        self.asked = asked
        return self

    def first(self) -> User | None:
        return self.user

    def commit(self) -> None:
        self.commits += 1

    def create_app(self, _name: str) -> "Pretended":
        return self

    def test_request_context(self) -> "Pretended":
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        pass

    def verify_password(self, password: str, hashed: str) -> bool:
        return hashed == self.hash_password(password)

    def hash_password(self, password: str) -> str:
        return f"hash of {password}"


@pytest.fixture
def provisioned(monkeypatch, tmp_path, capsys):
    """Runs provisioning against a pretended pgAdmin; returns exit status and what it said."""
    secret = tmp_path / "password"
    secret.write_text("the right one\n")
    monkeypatch.setenv("PGADMIN_CUSTOM_CONFIG_DISTRO_FILE", "/tmp/config_distro.py")
    monkeypatch.setenv("CONFIG_DISTRO_FILE_PATH", "/tmp/config_distro.py")
    monkeypatch.setenv("PGADMIN_DEFAULT_EMAIL", "operator@example.org")
    monkeypatch.setenv("AICLUSTER_PASSWORD_FILE", str(secret))

    def run(pretended: Pretended) -> tuple[object, str]:
        for module in ("config", "pgadmin", "pgadmin.model", "flask_security.utils"):
            monkeypatch.setitem(__import__("sys").modules, module, pretended)
        with pytest.raises(SystemExit) as ended:
            import_file(PROVISION, "aicluster_pgadmin_provision")
        return ended.value.code, capsys.readouterr().out.strip()

    return run


@pytest.mark.parametrize(
    ("user", "said"),
    [
        pytest.param(User("an old one"), "changed", id="another password"),
        pytest.param(User("the right one", attempts=3), "changed", id="no attempt left"),
        pytest.param(
            User("the right one", locked=True, attempts=3), "changed", id="locked after wrong passwords"
        ),
    ],
)
def test_provisioning_leaves_a_user_who_can_sign_in(provisioned, user, said):
    pretended = Pretended(user)
    assert provisioned(pretended) == (0, said)
    assert pretended.commits == bool(said)
    assert (user.password, user.locked, user.login_attempts) == ("hash of the right one", False, 0)
    assert pretended.asked == {"username": "operator@example.org", "auth_source": "internal"}

"""Whoever the role `pgadmin` provisions can sign in."""

import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from by_path import import_file

PROVISION = "roles/pgadmin/templates/opt/aicluster/pgadmin/bin/provision.py"


@pytest.mark.parametrize(("password", "locked", "attempts"), [
    pytest.param("an old one", False, 0, id="another password"),
    pytest.param("the right one", False, 3, id="no attempt left"),
    pytest.param("the right one", True, 3, id="locked after wrong passwords"),
])  # fmt: skip
def test_a_user_can_sign_in_afterwards(monkeypatch, tmp_path, capsys, password, locked, attempts):
    (tmp_path / "password").write_text("the right one\n")
    monkeypatch.setenv("PGADMIN_CUSTOM_CONFIG_DISTRO_FILE", "/tmp/config_distro.py")
    monkeypatch.setenv("CONFIG_DISTRO_FILE_PATH", "/tmp/config_distro.py")
    monkeypatch.setenv("PGADMIN_DEFAULT_EMAIL", "operator@example.org")
    monkeypatch.setenv("AICLUSTER_PASSWORD_FILE", str(tmp_path / "password"))
    user = SimpleNamespace(password=f"hash of {password}", locked=locked, login_attempts=attempts)
    pretended = MagicMock(hash_password="hash of {}".format)
    pretended.verify_password = lambda given, hashed: hashed == f"hash of {given}"
    found = pretended.User.query.filter_by
    found.return_value.first.return_value = user
    for module in ("config", "pgadmin", "pgadmin.model", "flask_security.utils"):
        monkeypatch.setitem(sys.modules, module, pretended)
    with pytest.raises(SystemExit) as ended:
        import_file(PROVISION, "aicluster_pgadmin_provision")
    assert (ended.value.code, capsys.readouterr().out) == (0, "changed\n")
    pretended.db.session.commit.assert_called_once()
    assert (user.password, user.locked, user.login_attempts) == ("hash of the right one", False, 0)
    found.assert_called_once_with(username="operator@example.org", auth_source="internal")

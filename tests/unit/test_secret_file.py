"""The file of secrets: what is missing is made and only that, and no value ever shows."""

import stat
import subprocess

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from programs import ansible
from secret_file import completed


def test_every_missing_secret_gets_a_long_value_of_its_own():
    text, made = completed("", ["b", "a"])
    values = yaml.safe_load(text)
    assert made == ["a", "b"]
    assert len(set(values.values())) == 2
    assert all(len(value) >= 32 for value in values.values())


def test_lines_that_are_there_are_kept_as_they_are():
    text, made = completed("# mine\na: my own # why\nother: kept", ["a", "b"])
    assert text.startswith('# mine\na: my own # why\nother: kept\nb: "')
    assert made == ["b"]


@pytest.mark.parametrize(("text", "message"), [
    ("- a\n", "no `name: value` lines"),
    ("a:\n", "has a without a value"),
    ("{b: 1}\n", "one `name: value` a line"),
], ids=["a list", "a name without a value", "braces around the lines"])  # fmt: skip
def test_a_file_that_cannot_be_completed_is_refused(text, message):
    with pytest.raises(AnsibleActionFail, match=message):
        completed(text, ["a"])


@pytest.fixture
def run(tmp_path):
    password = tmp_path / "password"
    password.write_text("of the vault\n")
    given = {"ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    command = ["ansible-playbook", "playbooks/secrets.yml"]
    command += ["--extra-vars", f"site_secrets_file={tmp_path}/secrets/vault.yml"]
    return lambda *more, vault=given: ansible(*command, *more, **vault)


@pytest.fixture
def vault(tmp_path):
    return tmp_path / "secrets" / "vault.yml"


def test_real_boards_get_an_encrypted_file_that_a_second_run_leaves_alone(run, vault):
    first = run()
    assert first.returncode == 0, first.stdout + first.stderr
    content = vault.read_bytes()
    assert content.startswith(b"$ANSIBLE_VAULT;")
    assert stat.S_IMODE(vault.stat().st_mode) == 0o600
    assert "kong_api_key" in first.stdout
    assert "nothing was missing" in run().stdout
    assert vault.read_bytes() == content


def test_no_value_is_printed_however_much_is_asked_for(run, vault):
    said = run("-e", "site_secrets_encrypted=false", "-vvv")
    values = yaml.safe_load(vault.read_text()).values()
    assert values
    assert not [value for value in values if value in said.stdout + said.stderr]


def test_without_a_password_nothing_is_written(run, vault):
    refused = run(vault={})
    assert refused.returncode != 0
    assert "there is no vault password" in refused.stdout + refused.stderr
    assert not vault.exists()


def test_plain_text_is_not_written_where_git_would_commit_it(run, vault, tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    refused = run("-e", "site_secrets_encrypted=false")
    assert "must be encrypted or ignored by git" in " ".join((refused.stdout + refused.stderr).split())
    assert not vault.exists()
    assert run().returncode == 0, "a vault may be committed"


def test_a_link_stays_one_and_waits_for_its_disk(run, vault, tmp_path):
    stick = tmp_path / "stick.yml"
    vault.parent.mkdir()
    vault.symlink_to(stick)
    assert run().returncode != 0 and not stick.exists()
    stick.write_text("# mine\n")
    run()
    assert vault.is_symlink() and stick.read_bytes().startswith(b"$ANSIBLE_VAULT;")


def test_a_check_says_what_would_be_made_and_writes_nothing(run, vault):
    assert "generated" in run("--check").stdout
    assert not vault.exists()


@pytest.mark.parametrize("line", ['a: "hush', "a: @hush", "a: b: hush"])
def test_a_line_that_is_no_yaml_is_named_by_its_number_not_by_its_secret(line):
    with pytest.raises(AnsibleActionFail, match="is not YAML: line") as failed:
        completed(f"first: 1\n{line}\n", ["b"])
    assert "hush" not in str(failed.value)

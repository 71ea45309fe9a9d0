"""The runner of the linters: what has passed is not run again, unless something it reads is another."""

import os
import subprocess

import pytest
from by_path import import_file

lint = import_file("tests/lint.py", "lint")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a Python file and a document, and a linter of Python; `fails` makes it fail."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("passed\nlinted\nfails\n")
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "a.md").write_text("# A\n")
    linter = tmp_path / "linter"
    linter.write_text("#!/bin/sh\necho once >> linted\necho 'a is not clean'\n! [ -e fails ]\n")
    linter.chmod(0o755)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the runner adds to it
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    monkeypatch.setattr(lint, "PASSED", tmp_path / "passed")
    monkeypatch.setattr(lint, "LINTERS", {"./linter": r".*\.py$"})
    return tmp_path


def runs(project):
    assert lint.main() == (1 if (project / "fails").exists() else 0)
    return len((project / "linted").read_text().splitlines())


def test_what_has_passed_is_not_run_again(project, capsys):
    assert [runs(project), runs(project)] == [1, 1]
    assert "passed before" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "count"), [
    ("a.py", 2),
    ("new.py", 2),
    ("pyproject.toml", 2),
    ("requirements.lock", 2),
    ("a.md", 1),
], ids=[
    "a file it reads", "a new file it reads", "its configuration", "its version", "no file of its kind",
])  # fmt: skip
def test_it_is_run_again_only_after_a_change_of(project, name, count):
    runs(project)
    (project / name).write_text("b = 2\n")
    assert runs(project) == count


def test_every_linter_reads_what_decides_its_verdict():
    read = {
        command.split()[0]: {name for name in lint.project_files() if lint.re.match(pattern, name)}
        for command, pattern in lint.LINTERS.items()
    }
    assert {"site.yml", ".ansible-lint", "ansible.cfg", "library/stack_node.py"} <= read["ansible-lint"]
    assert "roles/nginx/README.md" not in read["ansible-lint"]
    assert {".yamllint", "site.yml"} <= read["yamllint"]
    assert "tests/lint.py" in read["mypy"] and read["mypy"] == read["ruff"]

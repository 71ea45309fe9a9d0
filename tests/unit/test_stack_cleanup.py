"""What a cleanup takes for the toolkit's own, and what it leaves alone."""

import json
from types import SimpleNamespace

import pytest
from by_path import import_file

cleanup = import_file("library/stack_cleanup.py", "stack_cleanup_module")


def node(said):
    """A node with Docker, which says what `said` has for the beginning of a command."""

    def run_command(command):
        line = " ".join(command[1:])
        return 0, next((text for start, text in said.items() if line.startswith(start)), ""), ""

    return SimpleNamespace(get_bin_path=lambda name: name, run_command=run_command)


@pytest.mark.parametrize(("bystander", "packages", "files"), [
    ("", ["docker.io", "jq"], ["docker.sources"]),
    ("x:1 theirs \n", ["jq"], []),
], ids=["alone", "with others"])  # fmt: skip
def test_the_engine_and_its_repository_stay_while_containers_of_others_run_on_it(
    tmp_path, monkeypatch, bystander, packages, files
):
    monkeypatch.setattr(cleanup.node_state, "STATE_FILE", str(tmp_path / "state.json"))
    (tmp_path / "docker.sources").touch()
    sources = [str(tmp_path / name) for name in ("docker.sources", "docker.asc")]
    (tmp_path / "state.json").write_text(json.dumps({"packages": ["jq", "docker.io"], "sources": sources}))
    asked = {"keep_data": False, "keep_models": False, "repositories": []}
    found = cleanup.survey(node({"ps": bystander}), asked)
    assert (found["packages"], found["files"]) == (packages, [str(tmp_path / name) for name in files])


def test_an_engine_that_does_not_answer_is_not_taken_for_an_empty_one():
    def fail_json(msg):
        raise SystemExit(msg)

    said = node({}).__dict__ | {
        "run_command": lambda _command: (1, "", "Cannot connect"),
        "fail_json": fail_json,
    }
    with pytest.raises(SystemExit, match=r"Nothing was removed.*systemctl start docker"):
        cleanup.image_lists(SimpleNamespace(**said))


@pytest.mark.parametrize(("placed", "volumes", "images", "kept"), [
    pytest.param(True, ["aicluster_sonarqube"], ["m:5000/nginx:1", "m:5000/sonarqube:9"],
        ["aicluster_ollama", "aicluster_redis"], id="a service that is down, and one that moved away"),
    pytest.param(False, ["aicluster_redis", "aicluster_sonarqube"],
        ["m:5000/nginx:1", "m:5000/redis:8", "m:5000/sonarqube:9"], ["aicluster_ollama"],
        id="a node without services"),
])  # fmt: skip
def test_leftovers_are_what_no_container_uses_and_no_service_of_the_node_names(
    tmp_path, monkeypatch, placed, volumes, images, kept
):
    monkeypatch.setattr(cleanup, "STACK_ROOT", str(tmp_path))
    if placed:
        (tmp_path / "compose.yaml").touch()
    compose = f"compose --project-directory {tmp_path} --profile * config "
    tables = {
        "volume ls --filter label": "aicluster_ollama ollama\naicluster_redis redis\n"
        "aicluster_sonarqube sonarqube\naicluster_used used\n",
        "volume ls --quiet": "aicluster_ollama\naicluster_redis\naicluster_sonarqube\nsomebody-elses\n",
        compose + "--volumes": "redis\nused\n",
        compose + "--images": "m:5000/redis:8\nm:5000/nginx:2\n",
        "ps --all --format {{.Image}}": "m:5000/nginx:2\n",
        "image ls": "m:5000/nginx:0\nm:5000/nginx:1\nm:5000/nginx:2\nm:5000/sonarqube:9\ntheirs:1\n"
        "m:5000/nginx-theirs:1\nm:5000/redis:8\n",
    }
    before = {"nginx": {"image": "m:5000/nginx:0@sha256:0"}}  # a rollback goes back to it
    (tmp_path / "state.json").write_text(json.dumps({"before": before}))
    monkeypatch.setattr(cleanup.node_state, "STATE_FILE", str(tmp_path / "state.json"))
    images_of = ["m:5000/nginx", "m:5000/redis", "m:5000/sonarqube"]
    asked = {"keep_data": False, "keep_models": True, "repositories": images_of}
    found = cleanup.leftovers(node(tables), asked)
    assert (found["volumes"], found["images"], found["kept"]) == (volumes, images, kept)
    assert not any(found[kind] for kind in ("containers", "files", "units", "packages"))


def test_what_the_toolkit_made_is_known_until_the_caller_is_done_as_well(tmp_path, monkeypatch):
    for name in ("STACK_ROOT", "RUN_FOLDER"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(cleanup, name, str(tmp_path / name))
    monkeypatch.setattr(cleanup.node_state, "STATE_FILE", str(tmp_path / "state.json"))
    (tmp_path / "state.json").write_text('{"packages": ["jq"]}')
    cleanup.remove_folders(SimpleNamespace(get_bin_path=lambda _name: None))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert cleanup.node_state.read_state()["packages"] == ["jq"]

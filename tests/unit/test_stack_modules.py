"""What the role stack does on a node: its units, reloads of containers, and cleanups."""

import configparser
import json
from types import SimpleNamespace

import pytest
import render
from aicluster_node import reloading
from by_path import import_file
from tables import cases

from aicluster.engine.files import rule_for

PATH = "/etc/systemd/system/aicluster-stack.service"


def test_a_restart_of_the_engine_does_not_touch_the_boot_unit_and_any_systemd_takes_it():
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(render.render_role("stack", host=render.hosts_running("postgres")[0])[PATH])
    assert (unit["Unit"]["wants"], unit["Unit"]["after"]) == ("docker.service", "docker.service")
    assert not {"requires", "bindsto", "partof"} & set(unit["Unit"])
    # That of JetPack 4 (237) starts no `oneshot` again and knows no `exec`.
    assert "type" not in unit["Service"]


@cases(("host", "restarted"), {
    "a Jetson": ("192.168.1.157", ["aicluster-containers", "aicluster-jetson"]),
    "the node of the database": ("192.168.1.247", ["aicluster-containers", "aicluster-usage"]),
    "a node with a timer of ours": ("192.168.1.234", ["aicluster-containers"]),
})  # fmt: skip
def test_programs_that_run_for_ever_start_again_with_what_they_import(host, restarted):
    rendering = render.renderer("production", host)
    rules = rendering.state("stack", rendering.variables("stack", {"stack_services": []}))["files"]
    for name in ("aicluster_textfile.py", "aicluster_verify.py"):
        rule = rule_for(f"/opt/aicluster/bin/{name}", rules)
        assert sorted(rule["restart"]) == restarted


KONG = {"service": "kong", "command": "kong reload", "confirm": "sh -c 'grep new'", "files": ["/a", "/b"]}


@pytest.fixture
def compose(monkeypatch):
    """Puts answers of the reload and of the question after it; remembers what was asked."""
    asked: list[tuple[str, ...]] = []

    def put(reload, confirm, state="running healthy"):
        def answer(*arguments):
            asked.append(arguments)
            return (0, "the log") if arguments[0] == "logs" else confirm if "-e" in arguments else reload

        monkeypatch.setattr(reloading, "compose", answer)
        monkeypatch.setattr(reloading, "state_of", lambda _service: state)
        return asked

    monkeypatch.setattr(reloading, "PAUSE_S", 0)
    monkeypatch.setattr(reloading, "TIMEOUT_S", 0)
    return put


@cases(("answers", "message"), {
    "one without effect, whatever the command said": ([(0, "Kong reloaded"), (1, "hash of the old file")],
        "kong: `kong reload` had no effect within 0 s for /a, /b: hash of the old file\n"
        "Its log since then:\nthe log"),
    "one that ends with an error": ([(1, "nginx not running"), (0, "")],
        "kong: `kong reload` ended with 1 for /a, /b: nginx not running\nIts log since then:\nthe log"),
})  # fmt: skip
def test_a_reload_that_fails_names_file_service_and_program_with_their_words(compose, answers, message):
    compose(*answers)
    assert reloading.reload_one(KONG) == message


@cases(("state", "asked"), {
    "a sick one is restarted, and then waited for": ("running unhealthy", [("restart", "kong")]),
    "one that does not run reads its files when it starts": ("exited ", []),
    "one that is not there": ("", []),
})  # fmt: skip
def test_a_container_that_is_not_healthy_is_not_asked_to_reload(compose, state, asked):
    seen = compose((0, ""), (0, ""), state)
    assert reloading.reload_one(KONG) is None
    assert seen == asked


cleanup = import_file("library/stack_cleanup.py", "stack_cleanup_module")


def node(said):
    """A node with Docker, which says what `said` has for the beginning of a command."""

    def run_command(command):
        line = " ".join(command[1:])
        return 0, next((text for start, text in said.items() if line.startswith(start)), ""), ""

    return SimpleNamespace(get_bin_path=lambda name: name, run_command=run_command)


@cases(("bystander", "packages", "files"), {
    "alone": ("", ["docker.io", "jq"], ["docker.sources"]),
    "with others": ("x:1 theirs \n", ["jq"], []),
})  # fmt: skip
def test_the_engine_stays_while_others_run_on_it(tmp_path, monkeypatch, bystander, packages, files):
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

    fails = {"run_command": lambda _command: (1, "", "Cannot connect"), "fail_json": fail_json}
    with pytest.raises(SystemExit, match=r"Nothing was removed.*systemctl start docker"):
        cleanup.image_lists(SimpleNamespace(**node({}).__dict__ | fails))


@cases(("placed", "volumes", "images", "kept"), {
    "a service that is down, and one that moved away": (True, ["aicluster_sonarqube"],
        ["m:5000/nginx:1", "m:5000/sonarqube:9"], ["aicluster_ollama", "aicluster_redis"]),
    "a node without services": (False, ["aicluster_redis", "aicluster_sonarqube"],
        ["m:5000/nginx:1", "m:5000/redis:8", "m:5000/sonarqube:9"], ["aicluster_ollama"]),
})  # fmt: skip
def test_leftovers_are_what_nothing_uses_and_nobody_names(
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

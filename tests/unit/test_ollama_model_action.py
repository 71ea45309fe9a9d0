"""The action plugin `ollama_model`: it calls the module in slices and prints a line between them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from listening import Listening

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("ollama_action", ROOT / "action_plugins" / "ollama_model.py")
assert _spec and _spec.loader
action: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(action)


@pytest.mark.parametrize(
    ("completed", "total", "rate", "line"),
    [
        pytest.param(0, 0, 0.0, "gpt-oss: about to start", id="nothing is known yet"),
        pytest.param(0, 13.8e9, 0.0, "gpt-oss: 0 % of 13.8 GB", id="nothing arrived yet"),
        pytest.param(
            4.6e9, 13.8e9, 22e6, "gpt-oss: 33 % of 13.8 GB, 22.0 MB/s, 7 min left", id="in the middle"
        ),
        pytest.param(
            13.7e9,
            13.8e9,
            22e6,
            "gpt-oss: 99 % of 13.8 GB, 22.0 MB/s, less than a minute left",
            id="at the end",
        ),
    ],
)
def test_a_line_says_how_far_how_fast_how_long(
    completed: float, total: float, rate: float, line: str
) -> None:
    progress = {"model": "gpt-oss", "completed": int(completed), "total": int(total), "rate": rate}
    assert action.progress_line(progress) == line


def test_a_line_says_from_which_mirror() -> None:
    progress = {"model": "phi3", "origin": "10.0.0.1:11436", "completed": 1, "total": 0, "rate": 0.0}
    assert action.progress_line(progress) == "phi3 from 10.0.0.1:11436: about to start"


def test_a_call_tells_what_is_there_and_which_mirror_failed() -> None:
    call = {
        "pulled": ["a", "b"],
        "copied": ["a from 10.0.0.1:11436"],
        "given_up": [{"name": "10.0.0.1:11436/library/b:latest", "why": "model b: damaged"}],
    }
    assert action.done_lines(call) == [
        "not from a mirror: model b: damaged",
        "a is there, copied from 10.0.0.1:11436",
        "b is there",
    ]


def test_the_first_word_comes_soon_and_later_ones_every_minute() -> None:
    assert list(islice(action.slices(), 5)) == [15, 30, 60, 60, 60]


def test_two_calls_make_one_result() -> None:
    first = {
        "changed": True,
        "pulled": ["a"],
        "aliased": [],
        "diff": {"before": "", "after": "a\n"},
        "finished": False,
    }
    last = {
        "changed": False,
        "pulled": ["b"],
        "aliased": ["c -> a"],
        "diff": {"before": "a\n", "after": "a\nb\n"},
    }
    merged = action.merge(first, last)
    assert merged["changed"]
    assert (merged["pulled"], merged["aliased"]) == (["a", "b"], ["c -> a"])
    assert merged["diff"] == {"before": "", "after": "a\nb\n"}


def test_what_a_watched_call_has_said_is_neither_shown_nor_counted_again() -> None:
    watched = {"changed": False, "pulled": ["a"], "copied": ["a from m:1"], "given_up": [{"name": "b"}]}
    taken_over = {
        "changed": True,
        "pulled": ["a", "b"],
        "copied": ["a from m:1"],
        "given_up": [{"name": "b"}],
    }
    assert action.done_lines(action.news(watched, taken_over)) == ["b is there"]
    merged = action.merge(watched, taken_over)
    assert (merged["pulled"], merged["changed"]) == (["a", "b"], True)


def test_a_failure_after_a_change_is_both() -> None:
    merged = action.merge({"changed": True, "pulled": ["a"]}, {"failed": True, "msg": "no"})
    assert merged["failed"] and merged["changed"] and merged["msg"] == "no"


def test_a_refreshed_model_is_not_refreshed_again() -> None:
    models = [{"name": "a", "state": "latest"}, {"name": "b", "state": "latest"}]
    assert [model["state"] for model in action.settle(models, ["a"])] == ["present", "latest"]


TOTAL = 500 * 10**9  # so big that the end is never near: the module does not hang up shortly before it


class SlowServer:
    """Takes `steps` lines for a pull; goes on where the last client hung up, as Ollama does."""

    def __init__(self, steps: int) -> None:
        self.done = self.pulls = 0
        self.models: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def say(self, *lines: Any) -> None:
                self.send_response(200)
                self.end_headers()
                for line in lines:
                    self.wfile.write(json.dumps(line).encode() + b"\n")

            def do_GET(self) -> None:
                self.say({"models": [{"name": n, "digest": d} for n, d in outer.models.items()]})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/api/copy":
                    outer.models["code:latest"] = outer.models["codellama:34b"]
                    return self.say({})
                outer.pulls += 1
                self.say({"status": "pulling manifest"})
                while outer.done < steps:
                    outer.done += 1
                    line = {
                        "status": "pulling x",
                        "digest": "x",
                        "total": TOTAL,
                        "completed": outer.done * 10**8,
                    }
                    self.wfile.write(json.dumps(line).encode() + b"\n")
                    time.sleep(0.02)
                outer.models["codellama:34b"] = "d1"
                self.wfile.write(b'{"status":"verifying sha256 digest"}\n{"status":"success"}\n')
                return None

        self.server = Listening(Handler)
        self.url = self.server.url


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[SlowServer]:
    """A step takes a fiftieth of a second."""
    slow = SlowServer(steps=getattr(request, "param", 100))
    with slow.server:
        yield slow


def play(url: str, tmp_path: Path, *flags: str, tasks: Any = None, fails: bool = False) -> str:
    """Run a play through the real ansible-playbook; return its output. `tasks`: made from the arguments of
    ollama_model, by default one task."""
    arguments = {
        "url": url,
        "models": [{"name": "codellama:34b", "size_gb": 10}],
        "aliases": {"code": "codellama:34b"},
        "slice_s": 0.8,
    }
    wanted = tasks or (lambda task: [{"name": "The AI node has its models", "ollama_model": task}])
    playbook = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"node_name": "AGX0", "ansible_python_interpreter": sys.executable},
            "tasks": wanted(arguments),
        }
    ]
    path = tmp_path / "play.yml"
    path.write_text(json.dumps(playbook))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(tmp_path / "no.cfg"),
        "ANSIBLE_LIBRARY": str(ROOT / "library"),
        "ANSIBLE_ACTION_PLUGINS": str(ROOT / "action_plugins"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path),
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        str(path),
    ]
    done = subprocess.run(
        [*command, *flags], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout


def test_a_long_pull_shows_its_progress_and_ends(server: SlowServer, tmp_path: Path) -> None:
    output = play(server.url, tmp_path, "--diff")
    lines = [line for line in output.splitlines() if line.startswith("  AGX0: pulling codellama:34b: ")]
    assert len(lines) >= 2, (server.pulls, output)
    assert all("% of 500.0 GB" in line and "MB/s" in line for line in lines)
    assert server.pulls == len(lines) + 1, "each line is one slice"
    assert server.models == {"codellama:34b": "d1", "code:latest": "d1"}
    assert "changed=1" in output
    assert "+code:latest -> codellama:34b" in output


def test_check_mode_predicts_and_a_second_run_has_nothing_to_do(server: SlowServer, tmp_path: Path) -> None:
    assert "changed=1" in play(server.url, tmp_path, "--check")
    assert server.pulls == 0
    server.models = {"codellama:34b": "d1", "code:latest": "d1"}
    assert "changed=0" in play(server.url, tmp_path)
    assert server.pulls == 0


def begin_and_join(folder: Path) -> Any:
    """Tasks that begin a pull, do something else, and wait for it."""

    def tasks(arguments: dict[str, Any]) -> list[dict[str, Any]]:
        shared = {**arguments, "progress_file": str(folder / "models.json")}
        begun = {
            "name": "Begin",
            "ollama_model": shared,
            "async": 60,
            "poll": 0,
            "vars": {"ansible_async_dir": str(folder / "async")},
        }
        until_it_pulls = {
            "name": "Something else",
            "ansible.builtin.wait_for": {"path": str(folder / "models.json"), "search_regex": "total"},
        }
        return [begun, until_it_pulls, {"name": "Join", "ollama_model": shared}]

    return tasks


@pytest.mark.parametrize("server", [300], indirect=True, ids=["six seconds"])
def test_a_pull_goes_on_beside_other_tasks_and_is_waited_for_with_progress(
    server: SlowServer, tmp_path: Path
) -> None:
    output = play(server.url, tmp_path, tasks=begin_and_join(tmp_path / "run"))
    begun, rest = output.split("TASK [Something else]")
    assert "  AGX0: pulls beside the rest of this run" in begun
    assert "% of" not in begun, "nobody waits where it is begun"
    assert "  AGX0: pulling codellama:34b: " in rest and "  AGX0: codellama:34b is there" in rest
    assert server.pulls == 1, "whoever waits does not disturb"
    assert server.models == {"codellama:34b": "d1", "code:latest": "d1"}


def test_a_pull_in_the_background_that_nobody_could_find_again_is_refused(
    server: SlowServer, tmp_path: Path
) -> None:
    output = play(
        server.url, tmp_path, tasks=lambda task: [{"ollama_model": task, "async": 9, "poll": 0}], fails=True
    )
    assert "async must come with `poll: 0` and `progress_file`" in output
    assert server.pulls == 0

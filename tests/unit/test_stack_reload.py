"""What a node does to let a container read its files again, and what it takes for an effect."""

import pytest
from by_path import import_file

module = import_file("library/stack_reload.py", "stack_reload_module")
KONG = {"service": "kong", "command": "kong reload", "confirm": "sh -c 'grep new'", "files": ["/a", "/b"]}


@pytest.fixture
def compose(monkeypatch):
    """Puts answers of the reload and of the question after it; remembers what was asked."""
    asked: list[tuple[str, ...]] = []

    def put(reload, confirm, state="running healthy"):
        def answer(*arguments):
            asked.append(arguments)
            return (0, "the log") if arguments[0] == "logs" else confirm if "-e" in arguments else reload

        monkeypatch.setattr(module, "compose", answer)
        monkeypatch.setattr(module, "state_of", lambda _service: state)
        return asked

    monkeypatch.setattr(module, "PAUSE_S", 0)
    monkeypatch.setattr(module, "TIMEOUT_S", 0)
    return put


@pytest.mark.parametrize(("answers", "message"), [
    pytest.param(
        [(0, "Kong reloaded"), (1, "hash of the old file")],
        "kong: `kong reload` had no effect within 0 s for /a, /b: hash of the old file\n"
        "Its log since then:\nthe log",
        id="one without effect, whatever the command said",
    ),
    pytest.param([(1, "nginx not running"), (0, "")],
        "kong: `kong reload` ended with 1 for /a, /b: nginx not running\nIts log since then:\nthe log",
        id="one that ends with an error"),
])  # fmt: skip
def test_a_reload_that_fails_names_file_service_and_program_with_their_words(compose, answers, message):
    compose(*answers)
    assert module.reload(KONG) == message


@pytest.mark.parametrize(("state", "asked"), [
    pytest.param("running unhealthy", [("restart", "kong")],
        id="a sick one is restarted, and then waited for"),
    pytest.param("exited ", [], id="one that does not run reads its files when it starts"),
    pytest.param("", [], id="one that is not there"),
])  # fmt: skip
def test_a_container_that_is_not_healthy_is_not_asked_to_reload(compose, state, asked):
    seen = compose((0, ""), (0, ""), state)
    assert module.reload(KONG) is None
    assert seen == asked

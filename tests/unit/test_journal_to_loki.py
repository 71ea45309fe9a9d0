"""The translator from systemd-journal-upload to Loki: nothing is lost, nothing is called done too early."""

import http.client
import http.server
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import journal_to_loki as translator
import pytest
from journal_to_loki import BadJournal, NotTaken, Pieces, batches, chunks, entries, hand_over, labels, value
from listening import Listening

TEXT = b"__REALTIME_TIMESTAMP=1700000000000001\nMESSAGE=hello = world\n_HOSTNAME=pi41\nPRIORITY=6\n\n"
BINARY = b"MESSAGE\n" + (11).to_bytes(8, "little") + b"two\n\nlines!\n_HOSTNAME=agx0\n\n"


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def chunked(content: bytes, size: int = 7) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in cut(content, size)) + b"0\r\n\r\n"


# --- reading ---


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_journal_is_read_wherever_it_is_cut(size):
    first, second = entries(Pieces(cut(TEXT + BINARY, size)))
    assert first["MESSAGE"] == "hello = world"
    assert second == {"MESSAGE": "two\n\nlines!", "_HOSTNAME": "agx0"}


def test_an_entry_at_the_end_needs_no_empty_line():
    assert [one["MESSAGE"] for one in entries(Pieces([b"MESSAGE=a\n\nMESSAGE=b\n"]))] == ["a", "b"]


def test_bytes_that_are_no_text_are_kept_readable():
    assert next(entries(Pieces([b"MESSAGE=\xff!\n\n"])))["MESSAGE"] == "\ufffd!"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TEXT[:-20], id="cut off in a line"),
        pytest.param(BINARY[:14], id="cut off in a length"),
        pytest.param(BINARY[:20], id="cut off in a value"),
        pytest.param(BINARY.replace(b"lines!\n", b"lines!x"), id="a value that is longer than it says"),
        pytest.param(b"MESSAGE\n" + (1 << 40).to_bytes(8, "little"), id="a length nobody has memory for"),
    ],
)
def test_what_is_no_journal_is_refused(content):
    with pytest.raises(BadJournal):
        list(entries(Pieces(cut(content, 5))))


def test_chunks_are_put_together():
    assert b"".join(chunks(io.BytesIO(chunked(TEXT)))) == TEXT


@pytest.mark.parametrize("content", [b"", b"zz\r\n", b"5\r\nab", b"2\r\nabc\r\n", chunked(TEXT)[:-6]])
def test_a_body_that_is_cut_off_is_refused(content):
    with pytest.raises(BadJournal):
        list(chunks(io.BytesIO(content)))


# --- translating ---


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"_HOSTNAME": "raspberrypi", "node": "PI41"}, {"job": "journal", "node": "PI41"}),
        (
            {"node": "A", "_SYSTEMD_UNIT": "docker.service", "CONTAINER_NAME": "kong", "_PID": "7"},
            {"job": "journal", "node": "A", "unit": "docker.service", "container": "kong"},
        ),
        ({}, {"job": "journal"}),
    ],
    ids=["a kernel line", "a container's line: a process id is no label", "a line of nobody"],
)
def test_labels_are_few(entry, expected):
    assert labels(entry) == expected


def test_a_line_keeps_its_own_time_and_its_level():
    [entry] = entries(Pieces([TEXT]))
    assert value(entry) == ("1700000000000001000", "hello = world", {"level": "info"})


def test_a_line_longer_than_loki_takes_is_cut():
    assert len(value({"MESSAGE": "x" * 300_000})[1]) == 200_000


def test_batches_are_small_and_keep_the_order_of_a_stream():
    journal = [{"node": "ab"[number % 2], "MESSAGE": str(number)} for number in range(100)]
    bodies = list(batches(journal, limit=1000))
    assert len(bodies) > 5
    for node, first in (("a", 0), ("b", 1)):
        lines = [
            int(line)
            for body in bodies
            for stream in body["streams"]
            if stream["stream"]["node"] == node
            for _, line, _ in stream["values"]
        ]
        assert lines == list(range(first, 100, 2))


# --- handing over ---


def given(*answers: tuple[int, str]) -> tuple[Any, list[float]]:
    left, pauses = list(answers), list[float]()
    return (lambda _body: left.pop(0)), pauses


@pytest.mark.parametrize(
    "refusal", [(0, "connection refused"), (429, "rate limit"), (500, "oh"), (503, "starting")]
)
def test_what_loki_cannot_take_now_is_offered_again(refusal):
    send, pauses = given(refusal, refusal, (204, ""))
    assert hand_over({}, send, pauses.append) == ""
    assert pauses == [0, 1, 2]


def test_what_loki_never_takes_is_not_offered_again():
    send, pauses = given((400, "entry too far behind"))
    assert hand_over({}, send, pauses.append) == "entry too far behind"
    assert pauses == [0]


def test_the_sender_is_not_left_without_an_answer_for_three_minutes():
    send, pauses = given(*[(503, "starting")] * 10)
    with pytest.raises(NotTaken, match="503 starting"):
        hand_over({}, send, pauses.append)
    assert sum(pauses) < 60


# --- as a server ---


class MadeUpLoki(http.server.BaseHTTPRequestHandler):
    """Takes what the real one takes: text for times, no empty streams; says what the test asked it to say."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        assert self.path == "/loki/api/v1/push"
        for stream in body["streams"]:
            assert stream["stream"] and stream["values"]
            for moment, line, beside in stream["values"]:
                assert isinstance(moment, str) and isinstance(line, str) and isinstance(beside, dict)
                if server.says == 204:
                    server.lines.append(line)
                    server.nodes.append(stream["stream"].get("node"))
        self.send_response(server.says)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def loki() -> Iterator[Any]:
    server: Any = Listening(MadeUpLoki)
    server.says, server.lines, server.nodes = 204, [], []
    with server:
        yield server


@pytest.fixture
def door(loki, monkeypatch) -> Iterator[http.client.HTTPConnection]:
    monkeypatch.setattr(translator, "PAUSES_S", (0, 0))
    handler = translator.handler(f"http://127.0.0.1:{loki.server_port}")
    server = translator.Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()


def upload(door: http.client.HTTPConnection, content: bytes) -> int:
    door.request(
        "POST",
        "/upload?extra_fields=node=PI31&then=/upload",
        iter(cut(content, 9)),
        {"Content-Type": "application/vnd.fdo.journal"},
        encode_chunked=True,
    )
    answer = door.getresponse()
    answer.read()
    return answer.status


def test_lines_arrive_and_then_the_sender_is_told(loki, door):
    assert upload(door, TEXT + BINARY) == 200
    assert loki.lines == ["hello = world", "two\n\nlines!"]
    assert loki.nodes == ["PI31", "PI31"], "whatever the host names"


def test_a_second_journal_may_follow_on_the_same_connection(loki, door):
    assert [upload(door, TEXT), upload(door, TEXT)] == [200, 200]
    assert len(loki.lines) == 2


def test_while_loki_is_away_the_sender_keeps_its_place(loki, door):
    loki.says = 503
    assert upload(door, TEXT) == 503
    loki.says = 204
    assert upload(door, TEXT) == 200
    assert loki.lines == ["hello = world"]


def test_lines_loki_refuses_do_not_hold_up_the_others(loki, door, capsys):
    loki.says = 400
    assert upload(door, TEXT) == 200
    assert "refused lines" in capsys.readouterr().out


def test_what_is_no_journal_gets_an_error(door):
    assert upload(door, b"MESSAGE") == 400

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes journals from systemd-journal-upload and hands them to Loki.

    journal_to_loki.py <address:port to listen on> <URL of Loki>

The sender is told "done" only when Loki has taken every line, so it keeps its place in the journal until
then: an outage of Loki delays lines and loses none. `/upload?extra_fields=node=PI51` adds a
field to each line, as in VictoriaLogs. Nothing is stored here. Python 3.6 and its
standard library are enough.
Source: systemd.io/JOURNAL_EXPORT_FORMATS (export format), Loki's HTTP API (POST /loki/api/v1/push).
"""

import json
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BufferedIOBase
from socketserver import ThreadingMixIn
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, Type
from urllib.parse import parse_qs

BATCH_BYTES = 512 * 1024
# Loki refuses longer lines (256 KB).
LONGEST_LINE = 200 * 1000
LONGEST_FIELD = 8 * 1024 * 1024
# In all less than the three minutes after which systemd takes the sender for dead.
PAUSES_S = (1, 2, 5, 10, 15)
LEVELS = ("emerg", "alert", "critical", "error", "warning", "notice", "info", "debug")
LABELS = {"node": "node", "unit": "_SYSTEMD_UNIT", "container": "CONTAINER_NAME"}
Entry = Dict[str, str]
Value = Tuple[str, str, Dict[str, str]]


class BadJournal(Exception):
    """What was sent is not the export format."""


class NotTaken(Exception):
    """Loki did not take the lines and may take them later."""


def chunks(source: BufferedIOBase) -> Iterator[bytes]:
    """Yield the content of a body with `Transfer-Encoding: chunked`; raises BadJournal when it is cut off."""
    while True:
        head = source.readline(64)
        try:
            size = int(head.split(b";")[0], 16)
        except ValueError:
            raise BadJournal("no size of a chunk: %r" % head) from None
        if size == 0:
            while source.readline(1024).strip():
                pass
            return
        content = source.read(size)
        if len(content) < size or source.readline(8).strip():
            raise BadJournal("a chunk is cut off")
        yield content


class Pieces:
    """A byte stream to read lines and exact lengths from."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        """`parts` are its bytes, cut anywhere."""
        self._parts, self._held = iter(parts), bytearray()

    def _more(self) -> bool:
        part = next(self._parts, None)
        if part is not None:
            self._held += part
        return part is not None

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes; raises BadJournal at an earlier end."""
        if size > LONGEST_FIELD:
            raise BadJournal("a field of %d bytes" % size)
        while len(self._held) < size:
            if not self._more():
                raise BadJournal("a field is cut off")
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def line(self) -> Optional[bytes]:
        """Return the next line without its end, None at the end of the stream."""
        searched = 0
        while True:
            end = self._held.find(b"\n", searched)
            if end >= 0:
                return self.take(end + 1)[:-1]
            searched = len(self._held)
            if searched > LONGEST_FIELD:
                raise BadJournal("a line without an end")
            if not self._more():
                if self._held:
                    raise BadJournal("a line is cut off")
                return None


def entries(stream: Pieces) -> Iterator[Entry]:
    """Yield the entries of a journal: field -> text. A field that is there twice keeps its last value."""
    entry = {}  # type: Entry
    while True:
        line = stream.line()
        if not line:
            if entry:
                yield entry
            if line is None:
                return
            entry = {}
            continue
        name, equals, value = line.partition(b"=")
        if not equals:  # a value with line ends: its length in eight bytes, little end first, then the value
            value = stream.take(int.from_bytes(stream.take(8), "little"))
            if stream.take(1) != b"\n":
                raise BadJournal("field %r does not end where it says" % name)
        entry[name.decode("ascii", "replace")] = value.decode("utf-8", "replace")


def extra_fields(query: str) -> Entry:
    """Return the fields that a sender's URL adds to each of its lines: `extra_fields=name=text,name=text`."""
    texts = ",".join(parse_qs(query).get("extra_fields", []))
    return {name: text for name, _, text in (field.partition("=") for field in texts.split(",")) if text}


def labels(entry: Entry) -> Dict[str, str]:
    """Return the labels of a line: few values each, or Loki drowns in streams."""
    found = {label: entry[field] for label, field in LABELS.items() if entry.get(field)}
    return dict(found, job="journal")


def value(entry: Entry) -> Value:
    """Return time (ns), line and what is worth showing beside it."""
    priority = entry.get("PRIORITY", "")
    known = priority.isdigit() and int(priority) < len(LEVELS)
    beside = {
        "level": LEVELS[int(priority)] if known else "",
        "identifier": entry.get("SYSLOG_IDENTIFIER", ""),
    }
    moment = entry.get("__REALTIME_TIMESTAMP", "")
    nanoseconds = int(moment) * 1000 if moment.isdigit() else int(time.time() * 1e9)
    line = entry.get("MESSAGE", "")[:LONGEST_LINE]
    return str(nanoseconds), line, {name: text for name, text in beside.items() if text}


def batches(found: Iterable[Entry], limit: int = BATCH_BYTES) -> Iterator[Dict[str, Any]]:
    """Yield bodies for Loki's push API of about `limit` bytes of lines; order within a stream is kept."""
    streams, size = {}, 0  # type: Dict[str, Tuple[Dict[str, str], List[Value]]], int
    for entry in found:
        mine, one = labels(entry), value(entry)
        streams.setdefault(json.dumps(mine, sort_keys=True), (mine, []))[1].append(one)
        size += len(one[1]) + 100
        if size >= limit:
            yield {"streams": [{"stream": mine, "values": values} for mine, values in streams.values()]}
            streams, size = {}, 0
    if streams:
        yield {"streams": [{"stream": mine, "values": values} for mine, values in streams.values()]}


def post(url: str, body: Dict[str, Any]) -> Tuple[int, str]:
    """Return Loki's status and words; status 0 when it cannot be reached."""
    request = urllib.request.Request(
        url + "/loki/api/v1/push", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(500).decode("utf-8", "replace").strip()
    except OSError as error:
        return 0, str(error)


def hand_over(
    body: Dict[str, Any],
    send: Callable[[Dict[str, Any]], Tuple[int, str]],
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Give one batch to Loki; returns "" or what Loki refused for good. Raises NotTaken after some tries.

    Loki keeps the good lines of a batch it answers with 400 (too old, too long); the others never get better.
    """
    said = ""
    for seconds in (0,) + PAUSES_S:
        pause(seconds)
        status, said = send(body)
        if status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            return ""
        if status == HTTPStatus.BAD_REQUEST:
            return said or "without a word"
        said = "%d %s" % (status, said)
    raise NotTaken(said)


def handler(url: str) -> Type[BaseHTTPRequestHandler]:
    """Return the handler that hands over to the Loki at `url`."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 300

        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            if path != "/upload" or self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                self._answer(404, "POST a journal to /upload, in chunks\n")
                return
            refused, more = "", extra_fields(query)
            try:
                for body in batches(dict(entry, **more) for entry in entries(Pieces(chunks(self.rfile)))):
                    refused = hand_over(body, lambda one: post(url, one)) or refused
            except NotTaken as error:
                self._answer(503, "Loki does not take lines: %s\n" % error)
            except BadJournal as error:
                self._answer(400, "%s\n" % error)
            else:
                if refused:
                    print("Loki refused lines of %s: %s" % (self.client_address[0], refused), flush=True)
                self._answer(200, "OK\n")

        def _answer(self, status: int, text: str) -> None:
            if status != HTTPStatus.OK:
                print("%s: %d %s" % (self.client_address[0], status, text.strip()), flush=True)
                self.close_connection = True  # the rest of the body is not read
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text.encode())))
            if status != HTTPStatus.OK:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Not a line about every line."""

    return Door


class Server(ThreadingMixIn, HTTPServer):
    """One thread a sender; there is one sender a node."""

    daemon_threads = True
    allow_reuse_address = True


def main(arguments: List[str]) -> None:
    """Serve until stopped."""
    listen, loki = arguments
    address, _, port = listen.rpartition(":")
    Server((address, int(port)), handler(loki.rstrip("/"))).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])

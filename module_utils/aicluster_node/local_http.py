"""HTTP to servers on this node."""

import json
import socket

HTTP_OK = 200


def http_get(address, path, headers="", timeout_s=20):
    """Return (status, header lines, body) of a server on this node, (None, [], b"") when none answers.

    `address` is a socket's path or (host, port). HTTP/1.0 by hand: importing http.client costs more than the
    rest of the inspection.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address)
        request = "GET %s HTTP/1.0\r\nHost: localhost\r\n%s\r\n" % (path, headers)
        connection.sendall(request.encode())
        with connection.makefile("rb") as answer:
            status = answer.readline().split()
            lines = []
            line = answer.readline().strip()
            while line:
                lines.append(line.decode("latin-1"))
                line = answer.readline().strip()
            body = answer.read()
        return (int(status[1]), lines, body) if len(status) > 1 else (None, [], b"")
    except (OSError, ValueError):
        return None, [], b""
    finally:
        connection.close()


def http_json(address, path):
    """Return the JSON a server on this node answers, or None."""
    status, _lines, body = http_get(address, path)
    try:
        return json.loads(body.decode()) if status == HTTP_OK else None
    except ValueError:
        return None

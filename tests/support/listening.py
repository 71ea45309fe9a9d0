"""An HTTP server of a test's own, on a free port of this machine; it ends with its `with` block."""

import http.server
import sys
import threading
from typing import Any


class Listening(http.server.ThreadingHTTPServer):
    """Serves a handler class from its making on; one thread a request."""

    daemon_threads = True

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, unless the client has hung up: two tracebacks at once fail Python 3.11."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def __exit__(self, *_error: object) -> None:
        self.shutdown()
        self.server_close()

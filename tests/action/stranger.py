"""A server that belongs to somebody else.

`python -m tests.action.stranger PORT` is one in a process of its own, which prints at its end what it heard.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_AS_A_RELAY = b'{"version": "9.9.9", "store": "actions", "session": "none"}'


class Recorder:
    """Somebody else's server: answers every request as a relay without a session would, and keeps all it was told."""

    def __init__(self, answer: bytes = _AS_A_RELAY, port: int = 0) -> None:
        self.heard: list[str] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                heard.append(f"{self.requestline}\n{self.headers}\n{body.decode(errors='replace')}")
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815 - names of the base class

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


if __name__ == "__main__":
    recorder = Recorder(port=int(sys.argv[1]))
    print("ready", flush=True)  # noqa: T201 - for whoever started it
    sys.stdin.read()
    print("\n".join(recorder.heard))  # noqa: T201

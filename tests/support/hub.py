"""A Hugging Face hub on this machine, as far as uploads ask it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What the hub holds, and what it answers."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Of the one model that there is."""
    messages: list[str] = field(default_factory=list)
    is_private: bool | None = None
    """None while there is no model."""
    errors_of_card: list[str] = field(default_factory=list)
    """What is wrong with a model card."""
    refuses_with: int | None = None
    """A status for all requests that would change something."""
    address: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answer requests on a port of the loopback interface."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        """Tell of the model and its files."""
        if "/tree/" in self.path:
            self._answer([{"type": "file", "path": name, "size": 1, "oid": "1"} for name in self.hub.files])
        else:
            self._answer({"id": "me/small", "private": self.hub.is_private, "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        """Make the model, or change its files."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.refuses_with:
            self._answer({"error": "refused"}, self.hub.refuses_with)
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            errors = [{"message": error} for error in self.hub.errors_of_card]
            self._answer({"errors": errors, "warnings": []}, 400 if errors else 200)
        elif "/preupload/" in self.path:
            named = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in named]})
        else:
            self._commit([json.loads(line) for line in body.splitlines()])

    def _create(self, asked: dict[str, Any]) -> None:
        if self.hub.is_private is not None:
            self._answer({"url": f"{self.hub.address}/me/small"}, 409)
            return
        self.hub.is_private = asked.get("visibility") == "private"
        self._answer({"url": f"{self.hub.address}/me/small"})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.hub.messages.append(value["summary"])
                case "file":
                    self.hub.files[value["path"]] = base64.b64decode(value["content"])
                case "deletedFile":
                    del self.hub.files[value["path"]]
        self._answer({"commitUrl": f"{self.hub.address}/me/small/commit/1", "commitOid": "1" * 40})

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

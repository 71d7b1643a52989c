"""A proxy before a server, on loopback, that loses answers."""

from __future__ import annotations

import socket
import threading
from contextlib import closing


class Deaf:
    """A proxy before a server that drops every third reply after the request was done."""

    def __init__(self, port: int) -> None:
        self.server, self.count, self.dropped = port, 0, 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, closing(socket.create_connection(("127.0.0.1", self.server))) as server:
            while request := read_message(client):
                server.sendall(
                    request.replace(
                        f"127.0.0.1:{self.port}".encode(), f"127.0.0.1:{self.server}".encode()
                    )
                )
                reply = read_message(server)
                self.count += 1
                if self.count % 3 == 0:
                    self.dropped += 1
                    return
                client.sendall(reply)

    def close(self) -> None:
        self.socket.close()


def read_message(connection: socket.socket) -> bytes:
    """One HTTP message with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = {
        key.strip().lower(): value.strip()
        for key, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if b"content-length" in fields:
        while len(body) < int(fields[b"content-length"]):
            body += connection.recv(65536)
    elif fields.get(b"transfer-encoding") == b"chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(65536)
    return head + b"\r\n\r\n" + body

"""TCP relay to PostgreSQL or Redis that a test can close and open again, to simulate an outage."""

import selectors
import socket
import threading
from contextlib import suppress

Address = str | tuple[str, int]  # a Unix socket's path, or host and port


class Relay:
    """Relay from ``port`` of the loopback interface to ``target``."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._serve()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port))

    def go_away(self) -> None:
        """Refuse new connections and cut the open ones."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._listener = self._listen(self.port)
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed by go_away
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        family = socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET
        with client, socket.socket(family) as server, selectors.DefaultSelector() as readable:
            server.connect(self.target)
            ends = {client: server, server: client}
            self._open |= ends.keys()
            for each in ends:
                readable.register(each, selectors.EVENT_READ)
            with suppress(OSError):
                while True:
                    for key, _events in readable.select():
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            self._open -= ends.keys()
                            return
                        ends[key.fileobj].sendall(data)  # type: ignore[index]

"""Values between a server and its rendering processes: four bytes of length, then JSON.

JSON and not pickle: the process that has parsed a hostile text must not run code in the server.
"""

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">I")


def send_value(connection: socket.socket, value: Any) -> None:
    """Write ``value``. Raise OSError if the other side is gone."""
    body = json.dumps(value, separators=(",", ":")).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive_value(connection: socket.socket) -> Any:
    """Return the next value. Raise EOFError or OSError if the other side is gone."""
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    return json.loads(_read(connection, length))


def _read(connection: socket.socket, length: int) -> bytearray:
    read = bytearray(length)
    view, at = memoryview(read), 0
    while at < length:
        count = connection.recv_into(view[at:])
        if not count:
            raise EOFError
        at += count
    return read

"""Where the page is served: `HOST:PORT`, on this machine alone unless a host says otherwise."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from typing_extensions import Self

from ..errors import UsageError

HOST, PORT = "127.0.0.1", 8090
SEND_BUFFER = 1 << 18
"""Bytes that the system may hold for a viewer: what bounds how old a slow one's pictures get."""
BACKLOG = 64
EXCLUSIVE = ~socket.SO_REUSEADDR
"""`SO_EXCLUSIVEADDRUSE`, which Windows alone has; so `winsock2.h` defines it."""


@dataclass(frozen=True)
class Address:
    """A host and port to listen on; port 0: any that is free."""

    host: str = HOST
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT`, `HOST` or `PORT`; IPv6 in brackets.

        Raises:
            UsageError: not that.
        """
        if text.isdecimal():
            return cls(HOST, _port(text, text))
        host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
        host = (host if colon else text).strip("[]")
        if not host or (colon and ":" in host and "[" not in text):
            raise UsageError(f"--preview: got {text!r}, expected HOST:PORT such as 0.0.0.0:{PORT} or [::1]:{PORT}")
        return cls(host, _port(port, text) if colon else PORT)

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return is_loopback(self.host)

    def listen(self) -> socket.socket:
        """A socket that listens.

        Raises:
            UsageError: the port is taken, or the host is not an address of this machine.
        """
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise UsageError(f"--preview: got {self}, where nothing can listen: {error.strerror}") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, _own_port(), 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted ones inherit it
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise UsageError(
                f"--preview: got {self}, where nothing can listen: {error.strerror}; choose another port, or 0 for any"
            ) from error
        return listener

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine seen from itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def reachable_host(host: str) -> str:
    """What others write for `host`: where that is every address of this machine, the one that leads outside."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the system only looks up the way
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _own_port(system: str = os.name) -> int:
    """The option of a socket by which a port has one listener, and is free again as soon as that has ended.

    On Windows `SO_REUSEADDR` lets any other program listen there too, and viewers may come to either.
    """
    return socket.SO_REUSEADDR if system == "posix" else EXCLUSIVE


def _port(digits: str, text: str) -> int:
    if not digits.isdecimal() or int(digits) > 65535:
        raise UsageError(f"--preview: got {text!r}, expected a port from 0 to 65535")
    return int(digits)

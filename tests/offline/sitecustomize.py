"""The offline rule: in the test suite, and in every process that it starts, only this machine can be reached."""

import socket

_connect, _lookup = socket.socket.connect, socket.getaddrinfo
_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def _guard(host):
    if host not in _HERE:
        raise OSError(f"offline: the test suite may not reach {host!r}")


def connect(self, address):
    if isinstance(address, tuple):
        _guard(address[0])
    return _connect(self, address)


def getaddrinfo(host, *rest, **named):
    _guard(host)
    return _lookup(host, *rest, **named)


socket.socket.connect, socket.getaddrinfo = connect, getaddrinfo

"""Sockets whose other end vanished without a word: a cable that was pulled, a machine that died."""

import socket

IDLE_S = 60
INTERVAL_S = 10
PROBES = 4

_OPTIONS = (("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", INTERVAL_S), ("TCP_KEEPCNT", PROBES))


def watch_peers(listener: socket.socket, write_timeout: float) -> None:
    """Accepted sockets inherit these from the listener (tcp(7)). A silent peer is probed, and one
    that acknowledges nothing of what was sent is given up after `write_timeout` seconds. What a
    platform lacks is left out."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    user_timeout = ("TCP_USER_TIMEOUT", max(1, round(write_timeout * 1000)))  # milliseconds
    for name, value in (*_OPTIONS, user_timeout):
        option = getattr(socket, name, None)
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)

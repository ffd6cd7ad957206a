"""What is done to a socket of any kind: plain, under TLS, or TLS inside of TLS, which has no descriptor of its own.

Who calls this is the only one that has the socket, but for `shut_down`, which is for ending another thread's wait.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from typing import Any


def plain_socket(sock: Any) -> Any:
    """The socket to shut down or close by its descriptor: TLS inside of TLS is none of its own, but has one."""
    return getattr(sock, "socket", sock)


def is_readable(sock: Any) -> bool:
    """Whether there is something to read, or an end or error to be told of, on an open socket of whichever kind.

    By poll: select knows no descriptor over 1023.
    """
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True  # decrypted already, so the system has nothing left to show
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def is_dead(sock: Any) -> bool:
    """Whether an idle socket is no good for another request: closed, or with something to read that nobody asked for.

    The caller is the only one who has the socket, and closes it if it is dead: what it had to say has been read, so
    asking again may find nothing. A fresh TLS 1.3 socket is readable while its tickets are unread, so a
    readable TLS socket is read, without blocking: if that finds neither data nor an end, all is well, and the tickets
    are in its session. TLS inside TLS cannot be read without blocking; there, readable means dead.
    """
    try:
        if sock.fileno() < 0:
            return True
        if not is_readable(sock):
            return False
        return not (isinstance(sock, ssl.SSLSocket) and _has_nothing_to_say(sock))
    except (OSError, ValueError):
        return True


def _has_nothing_to_say(sock: ssl.SSLSocket) -> bool:
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        sock.recv(1)
        return False  # data, or the end
    except ssl.SSLWantReadError:
        return True
    finally:
        sock.settimeout(timeout)


def has_ended(sock: Any) -> bool:
    """Whether a dead socket's server has closed it, and not merely sent what nobody has asked for."""
    if type(sock) is not socket.socket:
        return True  # of TLS, what was to be read has been read
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return True


def send_all(sock: Any, data: bytes) -> None:
    """As `sendall`, which TLS has in Python: what is small goes out by one call."""
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


def shut_down(sock: Any) -> None:
    """End both directions, whoever waits on them. Not `SSLSocket.shutdown`, which takes the TLS layer away first: the
    reading thread would go on reading ciphertext."""
    try:
        socket.socket.shutdown(plain_socket(sock), socket.SHUT_RDWR)
    except (OSError, ValueError):
        pass  # it was closed, or has never been connected
    except Exception:
        sock.close()  # something that only looks like a socket: the watchdog goes on for all others


def end_sending(sock: Any) -> None:
    """Tell the other side, by TCP alone, that nothing more will come."""
    try:
        socket.socket.shutdown(plain_socket(sock), socket.SHUT_WR)
    except (OSError, TypeError):
        pass  # it is closed already


def await_end(sock: Any, until: float) -> None:
    """Wait for the other side to close its end, till `until` (`time.monotonic`); what still comes is of no interest."""
    sock = plain_socket(sock)
    try:
        while sock is not None and (patience := until - time.monotonic()) > 0:
            sock.settimeout(patience)
            if not socket.socket.recv(sock, 65536):
                return
    except OSError:
        pass

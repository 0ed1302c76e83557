"""No network: a Python process in which this is switched on speaks to its own machine only."""

import os
import sys

OWN = {None, "", "localhost", "::1", "0.0.0.0", "::", os.uname().nodename}
CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}  # what Python's audit calls them
ASKS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}

attempts: list[str] = []
"""What this process tried, which a library may have passed over."""
_on = False


def block() -> None:
    """From now on, for good: what an audit hook raises cannot be undone by replacing a function of ``socket``."""
    global _on
    if not _on:
        _on = True
        sys.addaudithook(_refuse)


def _is_number(host: object) -> bool:
    """Whether nobody has to be asked what its address is."""
    return ":" in str(host) or str(host).replace(".", "").isdigit()


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in CONNECTS:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is a socket of this machine
    elif event in ASKS and not _is_number(arguments[0]):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in OWN and not str(host).startswith("127."):
        attempts.append(f"{event} {host}")
        raise AssertionError(f"went to the network: {event} {host}")

"""The suite's block on the network holds, here and in processes that tests start, and leaves this machine reachable."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import offline

FAR = ("203.0.113.1", 9)  # an address kept for documentation: nobody has it


def tcp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


WAYS = {
    "connect": lambda: tcp().connect(FAR),
    "connect_ex": lambda: tcp().connect_ex(FAR),
    "create_connection": lambda: socket.create_connection(("example.com", 9), timeout=1),
    "udp": lambda: udp().connect(FAR),
    "sendto": lambda: udp().sendto(b"x", FAR),
    "sendmsg": lambda: udp().sendmsg([b"x"], [], 0, FAR),
    "ipv6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM).connect(("2001:db8::1", 9)),
    "name": lambda: socket.getaddrinfo("example.com", 80),
    "gethostbyname": lambda: socket.gethostbyname("example.com"),
}


@pytest.mark.threat("remote code")
@pytest.mark.parametrize("way", WAYS)
def test_nothing_far_is_reached(way: str) -> None:
    with pytest.raises(
        AssertionError, match=r"^went to the network: socket\.\w+ (203\.0\.113\.1|2001:db8::1|example\.com)$"
    ):
        WAYS[way]()
    assert len(offline.attempts) == 1
    offline.attempts.clear()  # else this test fails as one that went to the network


def test_an_attempt_that_is_passed_over_is_remembered() -> None:
    with contextlib.suppress(Exception):
        tcp().connect(FAR)
    assert offline.attempts == ["socket.connect 203.0.113.1"]
    offline.attempts.clear()


def test_an_address_that_is_a_number_is_nobody_asked_about() -> None:
    assert socket.getaddrinfo("203.0.113.1", 9)
    assert socket.getaddrinfo("2001:db8::1", 9)


def test_this_machine_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tcp() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=5).close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        monkeypatch.chdir(tmp_path)  # the path of such a socket must be short
        server.bind("s")
        server.listen()
        client.connect("s")


@pytest.mark.threat("remote code")
@pytest.mark.parametrize(
    "way", ["socket.socket().connect(('203.0.113.1', 9))", "socket.getaddrinfo('example.com', 80)"]
)
def test_nor_from_a_process_that_a_test_starts(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import socket; {way}"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "AssertionError: went to the network" in done.stderr

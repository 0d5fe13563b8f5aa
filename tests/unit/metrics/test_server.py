"""The server, with clients that are slow, many, or hostile."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from taskq.metrics import server as serving
from taskq.metrics.addresses import Address
from taskq.metrics.server import Page, Server
from tests.support.waiting import wait_until


def fail() -> Page:
    raise RuntimeError("the address of the database")


@pytest.fixture
def server() -> Iterator[Server]:
    pages = {"/live": lambda: Page(200, b"Yes.\n"), "/large": lambda: Page(200, b"x" * 50_000_000), "/fail": fail}
    server = Server(Address("127.0.0.1", 0), pages)
    server.start()
    yield server
    server.end()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.address.port), timeout=60)


def ask(server: Server, path: str = "/live", method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=60)
    with closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def send(server: Server, request: bytes) -> bytes:
    with connect(server) as client:
        with suppress(OSError):  # it may be told before it has sent all
            client.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):
            while part := client.recv(65536):
                answer += part
        return answer


def test_get_and_head_are_answered(server: Server) -> None:
    assert ask(server) == (200, b"Yes.\n")
    assert ask(server, method="HEAD") == (200, b"")
    assert ask(server, "/live?verbose=1") == (200, b"Yes.\n")


def test_other_methods_and_paths_are_refused(server: Server) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"):
        assert ask(server, method=method) == (405, b"Method Not Allowed\n")
    assert ask(server, "/../etc/passwd") == (404, b"Ask for /live, /large, /fail.\n")


def test_an_error_of_a_page_is_not_told_to_the_client(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    status, body = ask(server, "/fail")
    assert (status, body) == (500, b"The answer failed: the log of the worker says why.\n")
    assert "the address of the database" in caplog.text


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"\0\xff\xfe" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /live HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /live HTTP/1.1\r\n" + b"x: y\r\n" * 500 + b"\r\n",
        b"GET /live HTTP/1.1\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /<script> HTTP/1.1\r\n\r\n",
    ],
)
def test_rubbish_does_no_harm(server: Server, request_: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    answer = send(server, request_)
    assert b"200 OK" not in answer
    assert b"script" not in answer
    assert ask(server) == (200, b"Yes.\n")
    assert capfd.readouterr().err == ""


def test_a_burst_of_clients_from_another_process_keeps_no_probe_waiting(server: Server) -> None:
    program = (
        "import socket, sys\n"
        "clients = [socket.create_connection(('127.0.0.1', int(sys.argv[1]))) for _ in range(300)]\n"
        "[client.send(b'GET /live HT') for client in clients[-30:]]\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(server.address.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as burst:
        assert burst.stdout is not None
        burst.stdout.readline()
        assert ask(server) == (200, b"Yes.\n")
        burst.kill()


def test_many_slow_clients_keep_no_probe_waiting(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(connect(server))
            with suppress(OSError):
                client.sendall(b"GET /live HT")
        assert ask(server) == (200, b"Yes.\n")
        wait_until(lambda: server._threads <= serving._MOST, what="the threads of ended connections to end")
        assert ask(server) == (200, b"Yes.\n")


def test_a_client_that_reads_nothing_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_SECONDS", 0.3)
    with connect(server) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        wait_until(lambda: server._threads == 1, what="the connection to be taken")
        wait_until(lambda: server._threads == 0, what="the connection to be ended")
    assert ask(server) == (200, b"Yes.\n")


def test_a_client_that_sends_a_byte_now_and_then_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_SECONDS", 0.5)
    with connect(server) as client, suppress(OSError):
        client.settimeout(0.1)
        for _ in range(1000):
            client.sendall(b"G")
            with suppress(TimeoutError):
                assert client.recv(100) == b""
                break
        else:
            raise AssertionError("the connection lives on")


def test_the_end_closes_the_port_and_all_connections() -> None:
    server = Server(Address("127.0.0.1", 0), {})
    server.start()
    port = server.address.port
    with connect(server) as client:
        client.sendall(b"GET")
        wait_until(lambda: server._threads == 1, what="the connection to be taken")
        server.end()
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)

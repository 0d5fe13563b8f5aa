"""Addresses to serve on: what is one, and what is free."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from taskq.metrics.addresses import Address, check, leave, listen, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9100", Address("127.0.0.1", 9100)),
        (":9100", Address("", 9100)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:9100", Address("::1", 9100)),
        ("unix:/run/taskq.sock", Address(path="/run/taskq.sock")),
        ("unix:///run/taskq.sock", Address(path="/run/taskq.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "9100", "127.0.0.1", "a:b", "a:-1", "a:65536", "a:²", "::1:9100", "a:", "unix:", "unix:run", "unix:/a\0b"],
)
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="is no address: HOST:PORT"):
        parse(text)


def test_a_port_in_use_is_an_error_that_names_the_option() -> None:
    with closing(listen(Address("127.0.0.1", 0))) as first:
        address = Address("127.0.0.1", first.getsockname()[1])
        with pytest.raises(OSError, match=rf"--serve \(TASKQ_SERVE\): can't listen on 127.0.0.1:{address.port}: Addr"):
            check(address)
    check(address)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300, "a..b"])
def test_a_host_that_is_not_this_one_is_an_error_that_names_the_option(host: str) -> None:
    with pytest.raises(OSError, match="can't listen on"):
        listen(Address(host, 9100))


class TestUnixSockets:
    def test_a_socket_is_made_and_removed(self, tmp_path: Path) -> None:
        address = Address(path=str(tmp_path / "s"))
        with closing(listen(address)), closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(address.path)
        leave(address)
        assert not os.path.exists(address.path)

    def test_the_socket_of_a_process_that_was_killed_is_replaced(self, tmp_path: Path) -> None:
        address = Address(path=str(tmp_path / "s"))
        listen(address).close()
        check(address)
        assert not os.path.exists(address.path)

    def test_a_socket_in_use_stays(self, tmp_path: Path) -> None:
        address = Address(path=str(tmp_path / "s"))
        with closing(listen(address)):
            with pytest.raises(OSError, match="Address already in use"):
                listen(address)
            with closing(socket.socket(socket.AF_UNIX)) as client:
                client.connect(address.path)

    @pytest.mark.parametrize("dangling", [False, True])
    def test_a_file_or_a_link_stays(self, tmp_path: Path, dangling: bool) -> None:
        path, target = tmp_path / "s", tmp_path / "target"
        if dangling:
            path.symlink_to(target)
        else:
            path.write_text("precious")
        with pytest.raises(OSError, match="there is a file that is no socket"):
            listen(Address(path=str(path)))
        assert not target.exists()
        assert dangling or path.read_text() == "precious"

    def test_a_path_that_is_too_long_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="path too long"):
            listen(Address(path=str(tmp_path / ("x" * 200))))

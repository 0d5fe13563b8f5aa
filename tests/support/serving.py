"""Asks a worker that serves its metrics and probes."""

from __future__ import annotations

import http.client
from contextlib import closing

from .exposition import Read, parse
from .processes import Process


def ask(worker: Process, path: str, timeout: float = 10.0) -> tuple[int, str]:
    """Return the status and the text of ``path``; the address is in the worker's log."""
    host, port = worker.wait_for_log(r"probes are served on (.*):(\d+)\.$").groups()
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def metrics(worker: Process) -> dict[str, Read]:
    """Return the figures of the worker."""
    status, text = ask(worker, "/metrics")
    assert status == 200, text
    return parse(text)

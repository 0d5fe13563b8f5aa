"""Metrics and probes as a service of a worker: loaded only if the worker has an address to listen on."""

from __future__ import annotations

from taskq.worker import log_lines as worker_events
from taskq.worker.node import WorkerNode

from . import log_lines
from .addresses import Address
from .exposition import CONTENT_TYPE, render
from .probes import BEAT, Answer, Probes
from .server import Page, Server
from .worker import WorkerMetrics


class Serving:
    """Serves ``/live``, ``/ready`` and ``/metrics`` of one worker."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._server: Server | None = None
        self._metrics: WorkerMetrics | None = None
        self._probes: Probes | None = None

    def start(self, node: WorkerNode) -> None:
        """Listen, and count from now on. Raises ``OSError`` if the address is taken."""
        self._probes, self._metrics = probes, metrics = Probes(node), WorkerMetrics(node)
        self._server = Server(
            self._address,
            {
                "/live": lambda: _probe(probes.live()),
                "/ready": lambda: _probe(probes.ready()),
                "/metrics": lambda: Page(200, render(metrics.families()), CONTENT_TYPE),
            },
        )
        worker_events.worker_ready.subscribe(probes.announced)
        for hook, subscriber in metrics.subscriptions():
            hook.subscribe(subscriber)
        node.hub.call_repeatedly(BEAT, probes.beat)
        self._server.start()
        log_lines.serving_began(str(self._server.address))

    def stop(self) -> None:
        """Count and listen no more."""
        if self._probes is not None:
            worker_events.worker_ready.unsubscribe(self._probes.announced)
        if self._metrics is not None:
            for hook, subscriber in self._metrics.subscriptions():
                hook.unsubscribe(subscriber)
        if self._server is not None:
            self._server.end()


def _probe(answer: Answer) -> Page:
    return Page(200 if answer.good else 503, f"{answer.sentence}\n".encode())

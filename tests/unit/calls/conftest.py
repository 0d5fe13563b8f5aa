from tests.unit.tasks.fixtures import registry, sent, worker

__all__ = ["registry", "sent", "worker"]

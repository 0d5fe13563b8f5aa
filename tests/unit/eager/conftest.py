from tests.unit.tasks.fixtures import registry, sent

__all__ = ["registry", "sent"]

from tests.conformance.store.standing_apart import apart

__all__ = ["apart"]

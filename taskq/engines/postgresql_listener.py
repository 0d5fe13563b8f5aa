"""The listener of PostgreSQL: ``LISTEN`` on a connection of its own."""

from __future__ import annotations

from django.db import OperationalError, connections

from .listeners import Listener

#: A listener sends nothing, so the operating system has to notice that the server is gone. Its default is two hours.
_LIVENESS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_NOT_FOR_LISTENING = {"cursor_factory", "context", "prepare_threshold", "autocommit"}


class PostgresqlListener(Listener):
    """Listens on a connection of its own: unpooled, in autocommit."""

    interval = None

    def __init__(self, alias: str, channel: str) -> None:
        import psycopg

        wrapper = connections[alias]
        given = {k: v for k, v in wrapper.get_connection_params().items() if k not in _NOT_FOR_LISTENING}
        params = {**_LIVENESS, **given}
        # Callers that wait for the database to come back know Django's errors.
        with wrapper.wrap_database_errors:
            self._connection = psycopg.connect(**params, autocommit=True)
            self._connection.execute(f"LISTEN {channel}")

    def fileno(self) -> int:
        """Return the connection's socket."""
        return self._connection.fileno()

    def poll(self) -> set[str] | None:
        """Return the marks that have come; ``None`` if a notification had none."""
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
        except Exception as error:
            raise OperationalError(f"the LISTEN connection broke: {error}") from error
        found: set[str] = set()
        while (notice := pgconn.notifies()) is not None:
            found.update(notice.extra.decode("ascii", "replace").split(",") if notice.extra else ("",))
        return None if "" in found else found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

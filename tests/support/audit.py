"""An audit of final states: a trigger in the database notes each time that a run becomes final.

A large result is moved into its run behind the end, in the same transaction: that writes ``result`` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

_FINAL = "('SUCCESS', 'FAILURE', 'REVOKED')"
#: The columns that each end writes, of which an update has to name one.
_ENDS = "state, finished_at"
_CREATE = {
    "sqlite": [
        f"CREATE TRIGGER test_audit_{verb} AFTER {event} ON taskq_taskrun WHEN NEW.state IN {_FINAL} "
        "BEGIN INSERT INTO test_audit VALUES (NEW.task_id, NEW.state); END"
        for verb, event in (("INSERT", "INSERT"), ("UPDATE", f"UPDATE OF {_ENDS}"))
    ],
    "mysql": [
        f"CREATE TRIGGER test_audit_{verb} AFTER {verb} ON taskq_taskrun FOR EACH ROW "
        f"IF NEW.state IN {_FINAL} {guard} THEN INSERT INTO test_audit VALUES (NEW.task_id, NEW.state); END IF"
        # An upsert there touches every row, also those that it leaves as they are.
        for verb, guard in (("INSERT", ""), ("UPDATE", "AND OLD.state <> NEW.state"))
    ],
    "postgresql": [
        "CREATE FUNCTION test_audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO test_audit VALUES (NEW.task_id, NEW.state); RETURN NULL; END$$",
        f"CREATE TRIGGER test_audit AFTER INSERT OR UPDATE OF {_ENDS} ON taskq_taskrun FOR EACH ROW "
        f"WHEN (NEW.state IN {_FINAL}) EXECUTE FUNCTION test_audit()",
    ],
}
_DROP = {
    "sqlite": ["DROP TRIGGER IF EXISTS test_audit_INSERT", "DROP TRIGGER IF EXISTS test_audit_UPDATE"],
    "mysql": ["DROP TRIGGER IF EXISTS test_audit_INSERT", "DROP TRIGGER IF EXISTS test_audit_UPDATE"],
    "postgresql": ["DROP FUNCTION IF EXISTS test_audit() CASCADE"],
}


@contextmanager
def audit(alias: str) -> Iterator[None]:
    """Note every write of a final state while this is open; ``times_final`` counts them."""
    vendor = connections[alias].vendor
    # A test that could not clean up, since something held the database, is not to fail the ones after it.
    removal = [*_DROP[vendor], "DROP TABLE IF EXISTS test_audit"]
    creation = ["CREATE TABLE test_audit (task_id varchar(255), state varchar(50))", *_CREATE[vendor]]
    _execute(alias, [*removal, *creation])
    try:
        yield
    finally:
        _execute(alias, removal)


def _execute(alias: str, statements: list[str]) -> None:
    with connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def times_final(alias: str) -> Counter[str]:
    """Return how often each task id became final."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT task_id FROM test_audit")
        return Counter(row[0] for row in cursor.fetchall())

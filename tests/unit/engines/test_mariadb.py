from __future__ import annotations

import pytest
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError

from taskq.engines.mariadb import MariadbEngine


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (OperationalError(1366, "Incorrect string value"), True),
        (OperationalError(1292, "Incorrect datetime value"), True),
        (DataError(1406, "Data too long"), True),
        (OperationalError(2006, "Server has gone away"), False),
        (OperationalError(1205, "Lock wait timeout exceeded"), False),
        (OperationalError(), False),
        (ProgrammingError(1146, "Table doesn't exist"), False),
        (IntegrityError(1048, "Column cannot be null"), True),
    ],
)
def test_operational_errors_about_a_value_are_refusals(error: Exception, refused: bool) -> None:
    assert MariadbEngine("default").refuses(error) is refused

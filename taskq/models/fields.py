"""Column types that Django does not have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, IsNull
from django.utils.functional import cached_property

if TYPE_CHECKING:  # Django's fields can't be subscripted at run time.
    CharField = models.CharField[str, str]
    TextField = models.TextField[str, str]
    NullableTextField = models.TextField[str | None, str | None]
    DateTimeField = models.DateTimeField[datetime, datetime]
else:
    CharField, TextField, DateTimeField = models.CharField, models.TextField, models.DateTimeField
    NullableTextField = TextField


def _payload_type(base: str | None, connection: BaseDatabaseWrapper) -> str | None:
    if connection.vendor == "mysql":
        return "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    return base


def _exactly(connection: Any) -> str:
    """Return the collation by which a database compares a column byte by byte, blanks at the end included."""
    if connection.vendor == "postgresql":
        return ' COLLATE "C"'
    if connection.vendor == "mysql":
        name = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
        return f" CHARACTER SET utf8mb4 COLLATE {name}"
    return ""


class KeyField(CharField):
    """Text that is looked up exactly: compared byte by byte on every database.

    MariaDB's default collation takes ``a`` and ``A`` for the same key, its plain binary
    one ``a`` and ``a `` too, and PostgreSQL's is slower to sort than plain bytes.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type, with the collation where the database needs one."""
        base = super().db_type(connection)
        return base and base + _exactly(connection)

    def deconstruct(self) -> Any:
        """Describe the field for migrations."""
        name, _, args, kwargs = super().deconstruct()
        return name, "taskq.models.fields.KeyField", args, kwargs


@KeyField.register_lookup
class Unindexed(Exact):
    """``filter(id__in=ids, token__unindexed=token)``: equality that is only checked on rows found by other columns.

    No index serves it. A planner with old statistics may take ``token=token`` for the better way to the rows, and
    then reads everything that the token ever held.
    """

    lookup_name = "unindexed"

    def process_lhs(self, compiler: Any, connection: BaseDatabaseWrapper, lhs: Any = None) -> Any:
        """Return the column as an expression."""
        sql, params = super().process_lhs(compiler, connection, lhs)
        return (f"CONCAT({sql}, '')" if connection.vendor == "mysql" else f"({sql} || '')"), params

    def get_rhs_op(self, connection: BaseDatabaseWrapper, rhs: str) -> str:
        """Return the comparison."""
        return f"= {rhs}"


class OrderedId(Func):
    """The id as the indexes have it that give the order of claims and of promotion; for ``order_by``.

    On PostgreSQL that is ``id + 0``: a search for plain ids can't take such an index for that of the primary key. Nor
    can a search for other columns, in the order of ids, become a walk through the whole primary key.
    """

    def __init__(self) -> None:
        super().__init__("id", template="%(expressions)s")

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """Return the expression of the index."""
        return self.as_sql(compiler, connection, template="(%(expressions)s + 0)", **context)


class PayloadField(TextField):
    """Text of any length: on MariaDB ``longtext`` in UTF-8, whatever the table's default is."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type."""
        return _payload_type(super().db_type(connection), connection)

    def deconstruct(self) -> Any:
        """Describe the field for migrations."""
        name, _, args, kwargs = super().deconstruct()
        return name, "taskq.models.fields.PayloadField", args, kwargs


class NullablePayloadField(NullableTextField):
    """The same where there may be nothing; give it ``null=True``."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type."""
        return _payload_type(super().db_type(connection), connection)

    def deconstruct(self) -> Any:
        """Describe the field for migrations, which know no difference."""
        name, _, args, kwargs = super().deconstruct()
        return name, "taskq.models.fields.PayloadField", args, kwargs


# On SQLite a column of text may have a blob: a stand-in, which has the key of a ``LargeText``, and the end of the text.
# Whether it is one is known without reading the value, which may be a large text of an older version.
_STANDS_IN, _KEY, _END = "typeof({0}) = 'blob'", "CAST(substr({0}, 1, 32) AS TEXT)", "substr({0}, 33)"
#: The text of such a column, empty if the ``LargeText`` is gone.
WHOLE = (
    f"CASE WHEN {_STANDS_IN} THEN COALESCE((SELECT CAST(content AS TEXT) || CAST({_END} AS TEXT) FROM taskq_largetext "
    f"WHERE key = {_KEY}), '') ELSE {{0}} END"
)
#: The bytes of that text. The length of a blob is known without reading it; ``octet_length`` came with SQLite 3.43.
OCTETS = (
    f"CASE WHEN {_STANDS_IN} THEN COALESCE((SELECT length(content) + length({_END}) FROM taskq_largetext "
    f"WHERE key = {_KEY}), 0) ELSE length(CAST({{0}} AS BLOB)) END"
)


class WholeCol(Col):
    """A column that may have a stand-in, in a query: it gives, and is compared by, the whole text."""

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """Return the expression for SQLite."""
        sql, params = self.as_sql(compiler, connection)
        return WHOLE.format(sql), params


class _TextApart:
    """Makes the columns of fields whose large texts stand in ``LargeText`` on SQLite: see there."""

    @cached_property
    def cached_col(self: Any) -> Col:
        """The column in queries of its own table."""
        return WholeCol(self.model._meta.db_table, self)

    def get_col(self: Any, alias: Any, output_field: Any = None) -> Any:
        """Return the column in a query."""
        if alias == self.model._meta.db_table and output_field in (None, self):
            return self.cached_col
        return WholeCol(alias, self, output_field)


class LargeTextField(_TextApart, PayloadField):
    """A ``PayloadField`` whose large texts stand apart on SQLite. Queries give the whole text."""


class NullableLargeTextField(_TextApart, NullablePayloadField):
    """The same where there may be nothing; give it ``null=True``."""


@NullableLargeTextField.register_lookup
class IsNothing(IsNull):
    """``filter(body__isnull=True)``, which reads no text that stands apart."""

    def process_lhs(self, compiler: Any, connection: BaseDatabaseWrapper, lhs: Any = None) -> Any:
        """Return the column, without the expression that gives the whole text."""
        if isinstance(self.lhs, WholeCol):
            return self.lhs.as_sql(compiler, connection)
        return super().process_lhs(compiler, connection, lhs)


class Octets(Func):
    """The bytes of a column of text, for a queryset."""

    function = "OCTET_LENGTH"
    output_field = models.IntegerField()

    def as_sqlite(self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        """Return the expression for SQLite, which reads no text that stands apart."""
        (column,) = self.get_source_expressions()
        sql, params = column.as_sql(compiler, connection)
        return OCTETS.format(sql), params


def _to_database(value: datetime | None, connection: BaseDatabaseWrapper) -> Any:
    """Return a time as Django would store it if it had ``USE_TZ`` and the connection no zone of its own."""
    if value is not None and connection.vendor != "postgresql":
        value = value.astimezone(UTC).replace(tzinfo=None)
    return connection.ops.adapt_datetimefield_value(value)


def _from_database(value: datetime | None, connection: BaseDatabaseWrapper) -> datetime | None:
    """Reverse ``_to_database``: Django reads a time in the connection's zone, or without a zone."""
    if value is None:
        return None
    if connection.vendor != "postgresql":
        return value.replace(tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=ZoneInfo(connection.timezone_name))
    return value.astimezone(UTC)


class MomentField(DateTimeField):
    """A time with its zone, which is UTC in rows whatever ``USE_TZ`` and the database's ``TIME_ZONE`` say.

    The statements of ``engines`` write and compare the same columns and know no settings.
    """

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Return the time as a parameter of a statement."""
        return _to_database(value if prepared else self.get_prep_value(value), connection)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> datetime | None:
        """Return the time of a row with a time zone."""
        return _from_database(value, connection)

    def deconstruct(self) -> Any:
        """Describe the field for migrations, which know no difference."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs


if TYPE_CHECKING:

    class NullableMomentField(models.DateTimeField[datetime | None, datetime | None]):
        """The same where there may be none; give it ``null=True``."""

else:

    class NullableMomentField(MomentField):
        """The same where there may be none; give it ``null=True``."""

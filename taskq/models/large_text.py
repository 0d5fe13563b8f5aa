"""``LargeText``: where the large texts of messages, runs and groups stand on SQLite, apart from their rows.

SQLite writes a row anew, however large, whenever one of its values gets another length: to claim a message with 15 MiB
took 60 ms of processor time, and as much to settle it. So a body, or the arguments of a run, above 64 KiB stands here.
Its column has a stand-in: a blob of the key and the end of the text. A message and its run share one text, the
beginning of both. So do, within the transaction that settles, the body of a group and the result of a run to which it
is moved (``store.large_results``).

Queries give the whole text: see ``fields.WholeCol``. ``engines.large_texts`` writes the rows here, and triggers
(``engines.storage``) delete each with the last row that has its key. Other databases keep large texts apart by
themselves, and have no rows here.
"""

from __future__ import annotations

from django.db import models

from .fields import KeyField


class LargeText(models.Model):
    """A text in UTF-8."""

    key = KeyField(max_length=32, primary_key=True)
    content = models.BinaryField()

    def __str__(self) -> str:
        return self.key

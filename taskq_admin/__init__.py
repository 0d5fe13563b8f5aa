"""The Django admin of taskq: tasks, queues and workers, read from the rows.

Add ``taskq_admin`` to ``INSTALLED_APPS`` beside ``taskq``. It reads through
``taskq_admin.queries`` and never changes a row.
"""

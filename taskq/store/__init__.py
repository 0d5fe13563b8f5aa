"""Every write that changes rows: a module for each verb, such as ``claim`` and ``settle``, and for each kind of row.

Nothing else in taskq changes a row. Functions for other rooms take the database alias last (default:
``TASKQ_DATABASE``); those for use inside a transaction take the ``Engine`` first. Both run on the calling thread's
connection, in the caller's transaction.
"""

"""Every write that changes state: a module a verb.

Nothing else in taskq changes a row. Functions take the database alias last and default to ``TASKQ_DATABASE``; they run
on the calling thread's connection and take part in the caller's transaction.
"""

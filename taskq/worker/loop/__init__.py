"""The loop's thread: makes requests of claimed messages, hands them to the pool, and makes settlements of outcomes.

The node puts it together with the pool and the hub of kombu; calls from other threads come through a call queue.
Nothing here touches a database or waits: what needs the database is posted to the store thread (``duties``).
"""

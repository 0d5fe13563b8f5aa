"""What the loop's thread does: from claimed messages to requests, to slots of the pool, and to settlements.

The node puts it together with the pool and the hub of kombu; calls from other threads come through a call queue.
Nothing here touches a database or waits: what needs the database is posted to the store thread (``duties``).
"""

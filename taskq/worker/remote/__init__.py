"""Remote control and events of one worker: a thread with a kombu connection of its own.

``taskq.control`` and ``taskq.events`` register their parts with the thread. Nothing here imports the loop or the
duties: the thread answers while the loop is busy, and while the database is away.
"""

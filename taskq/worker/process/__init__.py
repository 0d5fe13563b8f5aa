"""The worker's process: names, signals, the pid file, the background, starting again, watchdogs, the end.

Called by the command before and after the worker runs, by ``worker.main`` and the node, and by pools for their own
processes (``system``). Nothing here knows of messages, deliveries or tasks, and nothing touches a database.
"""

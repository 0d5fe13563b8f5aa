"""Runs tasks and canvases in the calling process: ``apply``, and every call while ``TASKQ_ALWAYS_EAGER`` is on.

``tasks``, ``canvas`` and ``sending`` call it. Messages are built, read and run by ``execution`` as in a worker; retries
and follow-ups run at once, with the caller's connections, transactions and language. It never publishes.
"""

"""Runs tasks and canvases in the calling process: ``apply``, and every call while ``TASKQ_ALWAYS_EAGER`` is on.

The message is built and read as if it were sent, and ``execution`` runs it, so that an error in a worker is an error
here. Retries run at once, and so do follow-ups. Connections, transactions and language are the caller's.
"""

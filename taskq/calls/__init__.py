"""A call before it is sent: the registry of tasks, options, the context of a run, the envelope. Pure.

``tasks``, ``sending`` and ``workflows`` make envelopes here; nothing here sends a message or reads a row.
"""

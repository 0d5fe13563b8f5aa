"""Calls of tasks: the registry, the options, the context of a running task, and the envelope of a call.

``workflows``, ``sending``, ``tasks`` and ``execution`` call it. It never sends a message or touches the database.
"""

"""Sending: ``send`` for single calls, and ``publisher``, the only place that publishes tasks.

Called by ``tasks``, ``canvas`` and users. It never runs a task; ``TASKQ_ALWAYS_EAGER`` hands calls to ``eager``.
"""

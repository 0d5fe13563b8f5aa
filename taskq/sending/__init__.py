"""Sends calls: ``send`` for tasks, and ``publisher``, the only place that publishes."""

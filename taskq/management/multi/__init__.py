"""Many workers in the background: for ``manage.py taskmulti``.

``command_line`` and ``nodes`` are pure: they make nodes of a command line. ``starting`` and ``stopping`` start and
signal the nodes' processes. ``cluster`` prints what they did.
"""

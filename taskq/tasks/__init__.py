"""Tasks: ``Task`` with its options and handlers, ``@task``, retries and ``current_task``.

Users and ``execution`` call it. It never publishes a message itself and writes no rows.
"""

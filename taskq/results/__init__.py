"""``AsyncResult`` and the other results: read a task's row, wait for its end, revoke it."""

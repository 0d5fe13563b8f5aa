"""What the sender of a task can ask about it: ``AsyncResult``, and waiting for it."""

"""Canvas: signatures, and the workflows that they form: ``chain``, ``group``, ``chord``, maps and stamps.

Used by ``tasks`` and by users; ``sending`` here hands a plan to the publisher. It never runs a task.
"""

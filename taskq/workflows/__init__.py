"""Frozen canvases, their plans and nodes, dependents, errbacks, and the engine that advances groups and bodies.

``canvas``, ``tasks``, ``execution``, ``store`` and ``eager`` call it. It never publishes or touches the database.
"""

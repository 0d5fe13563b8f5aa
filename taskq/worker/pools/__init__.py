"""Pools: where deliveries run. One module a pool (prefork, threads, solo), all with the contract of ``base.Pool``.

The node makes one pool (``registry.pool_class``), and the loop's thread calls it: deliveries go in, outcomes and
reports come back. Pools never acknowledge or settle, and never decide which delivery goes where. What the main process
runs of a pool opens no database connection; a connection belongs to the task in a child or a thread.
"""

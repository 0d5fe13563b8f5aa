"""The worker: takes messages from queues, runs their tasks in a pool, and settles how they ended.

Called by the command ``taskworker`` (``main``), by ``taskhealth`` (``health``) and by ``taskq.testing``. Imports go one
way: ``process``, ``call_queue``, ``pools``, then ``loop`` and ``duties``, then ``failure_handlers`` and ``node``, then
``main``. A web process that only sends tasks never imports this package, and nothing here is needed to run a task:
that is ``taskq.execution``.
"""

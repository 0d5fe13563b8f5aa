"""An app that has a worker's main process kill itself at a point of the test's choice.

``TEST_POISON=point`` has it die of each message of the task ``tests.poison``: at its ``task_received``, or while it is
``read``. ``TEST_DEATH=point:n`` names one of ``POINTS`` and when: the n-th time that it is come to.
At ``stored`` a child dies instead: it has written a large result, and tells nobody.
"""

#: An outcome was received; before the commit that settles it; after that commit and before the
#: loop hears of it; before what follows is handed over to the pool.
POINTS = ("received", "uncommitted", "committed", "handing")

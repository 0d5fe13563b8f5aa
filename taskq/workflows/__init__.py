"""Follow-ups and dependents of a task's end: plans, freezing, and the algorithm that advances workflows. Pure.

Works on frozen signatures as plain data. ``canvas`` plans here what it sends, ``execution`` the follow-ups of a run;
``store`` and ``eager`` advance workflows here, over rows and over dictionaries.
"""

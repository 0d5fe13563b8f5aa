"""Everything that the pages read, and how stored text is made readable.

Read-only: no function here changes a row. Every query names
``TASKQ_DATABASE``'s alias, looks at a bounded number of rows or probes an index.
"""

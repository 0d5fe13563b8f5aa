"""The store thread: all database work of the main process, one duty a module.

The store thread calls the duties in turn: claim messages, settle outcomes, renew the lease, declare queues, recover,
promote and delete. The node puts them together; the loop posts calls to them. A duty never calls the loop's objects:
it posts to the loop's call queue. No task's code runs here.
"""

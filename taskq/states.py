"""The states of a task, and how they are ordered.

The names and their meaning are Celery's. A state is read from a row that was
written by the transaction that settled the task; ``PENDING`` is also what an
unknown id reads as.
"""

PENDING = "PENDING"
RECEIVED = "RECEIVED"
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
RETRY = "RETRY"
IGNORED = "IGNORED"

#: States that are final: nothing overwrites them.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
#: States from which a task goes on to another one.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: States whose result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: Final states whose exception ``get()`` raises.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES

# From the strongest to the weakest; a state of the user's own stands between FAILURE and REVOKED.
_PRECEDENCE = (SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING)
_RANK = {state: rank for rank, state in enumerate(_PRECEDENCE)}


def rank(state: str) -> int:
    """Return how strong a state is: 0 is the strongest. Unknown states are the user's own."""
    return _RANK.get(state, _RANK[None])


def is_final(state: str) -> bool:
    """Tell whether a task in ``state`` will not change any more."""
    return state in READY_STATES

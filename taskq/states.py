"""The states of a task and their order, with Celery's names and meaning.

The transaction that settles a task writes its state. ``PENDING`` is also the state of an unknown id.
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
#: States before the final state.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: States whose result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: Final states whose exception ``get()`` raises.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES

# From the strongest to the weakest; custom states (None) stand between FAILURE and REVOKED.
_PRECEDENCE = (SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING)
_RANK = {state: rank for rank, state in enumerate(_PRECEDENCE)}


def rank(state: str) -> int:
    """Return the rank of a state: 0 is the strongest. Unknown states count as custom states."""
    return _RANK.get(state, _RANK[None])


def is_final(state: str) -> bool:
    """Tell whether ``state`` is final: it never changes again."""
    return state in READY_STATES

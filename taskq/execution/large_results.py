"""Large results: the process that ran the task writes the text before its outcome. See ``store.large_results``.

Called by ``followups``. Eager runs and those in memory have no such process.
"""

from __future__ import annotations

from dataclasses import replace

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.handover import Outcome
from taskq.messages.protocol import MOST_IN_MAIN
from taskq.messages.reprs import LIMIT
from taskq.store.large_results import write_ahead
from taskq.store.sealed_values import sealed_type
from taskq.store.settle import refusal

from . import log_lines, outcomes
from .run import Run


def is_large(run: Run, outcome: Outcome) -> bool:
    """Tell whether the result of an outcome is one to be written before. An ``ending`` has an exception there."""
    if outcome.result is None or len(outcome.result) <= MOST_IN_MAIN:
        return False
    return outcome.state == states.SUCCESS and not run.in_memory and run.request.ending is None


def written_ahead(run: Run, outcome: Outcome) -> Outcome:
    """Return the outcome with what events show of a large result, which is in a row by now; any other as it is.

    It is a failure if the database refuses the text.
    """
    text = outcome.result
    if text is None or not is_large(run, outcome):
        return outcome
    task_id = outcome.task_id
    try:
        key = write_ahead(text, task_id)
    except Exception as error:
        if for_alias(settings.DATABASE).refuses(error):
            return outcomes.failed(run, refusal(error))
        # The worker writes all of it as soon as it can.
        log_lines.result_not_written(run, error)
        return outcome
    if not key:
        return outcome
    sealed = sealed_type(outcome.content_type, text, task_id, outcome.state)
    return replace(outcome, result=text[:LIMIT], content_type=sealed, result_row=key, result_size=len(text))

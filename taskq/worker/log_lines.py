"""The events of the worker, each with its line of the log. All parts of the worker call them; they call no part.

The loop calls them too: nothing here imports what reaches a database.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from signal import Signals
from typing import Protocol

from taskq.exceptions import InvalidTaskError
from taskq.handover import Delivery, Report
from taskq.hooks import Hook, silent
from taskq.log_escapes import get_logger
from taskq.records import Claimed, Progress, Settlement

log = get_logger("taskq.worker")

#: Of so many tasks a line shows the names.
_SHOWN = 10


class Request(Protocol):
    """A request of the loop, as far as these events need it."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def time_limit(self) -> float | None: ...


# -- the worker

worker_ended = Hook[str](log.info, "%s has ended.")
worker_failed = Hook[str](log.critical, "%s The worker ends.")
worker_crashed = Hook[()](lambda: log.critical("The worker ends.", exc_info=True))
part_not_ended = Hook[BaseException](log.warning, "A part of the worker, which can't start, did not end: %r")
worker_hung = Hook[str, float](log.critical, "The worker's %s has made no progress for %g s: the worker ends.")
worker_hangs = Hook[str, float](
    log.critical,
    "The worker's %s has made no progress for %g s: until it goes on, the lease is not renewed, "
    "and other workers may take over its tasks.",
)
shutdown_timed_out = Hook[float](log.warning, "TASKQ_SHUTDOWN_TIMEOUT is over (%s s): the rest goes back.")
pidfile_empty = Hook[object](log.warning, "Broken pid file %s: it is empty, and replaced.")


@Hook
def worker_ready(name: str) -> None:
    if log.isEnabledFor(logging.INFO):
        log.info("%s ready.", name)
    else:
        # Without -l a worker in a terminal says nothing else until a task fails.
        log.warning("%s has started.", name)


@Hook
def queue_not_named(queue: str, nearest: str | None) -> None:
    hint = f" Is {nearest!r} meant?" if nearest else ""
    log.warning(
        "-Q names the queue %r, which no route, no task and not TASKQ_QUEUES names, and in which nothing waits.%s",
        queue, hint,
    )  # fmt: skip


@Hook
def shutdown_began(how: str, sig: str, count: int) -> None:
    running = "1 task is running" if count == 1 else f"{count} tasks are running"
    # A user who waits in a terminal may not know of it.
    hint = " Ctrl-C again ends without waiting." if count and (how, sig) == ("Warm", "SIGINT") else ""
    log.warning("%s shutdown%s: %s.%s", how, f" ({sig})" if sig else "", running, hint)


# -- requests


@Hook
def tasks_received(requests: Sequence[Request]) -> None:
    if log.isEnabledFor(logging.DEBUG):  # the properties cost more than the question
        for request in requests:
            log.debug("Task %s[%s] received", request.name, request.id)


#: Requests that were handed to a slot together, and whether the first of them begins now.
tasks_handed_over = Hook[Sequence[Request], bool](silent)
#: A request that its task has put back into the queue.
task_put_back = Hook[Request](silent)
#: A running task has sent an event of its own.
event_sent_by_task = Hook[Request, Report](silent)
#: A running task has logged the lines of a report, while ``TASKQ_KEEP_TASK_LOGS`` is on.
task_logged = Hook[Request, Report](silent)


@Hook
def message_rejected(message: Claimed, error: Exception) -> None:
    unexpected = error if not isinstance(error, InvalidTaskError) else None
    text = "A message in %s was rejected: %r. Its headers: %.1000s"
    log.error(text, message.queue, error, _without_reprs(message.headers), exc_info=unexpected)


@Hook
def message_given_up(message: Claimed, name: str, why: str) -> None:
    log.error("Task %s[%s] failed: %s Its message is not read again.", name, message.task_id, why)


def _without_reprs(headers: str) -> str:
    """Return the headers without the texts about arguments: a sender that does not know the task did not mask them."""
    if "argsrepr" not in headers:
        return headers
    try:
        return json.dumps({name: value for name, value in json.loads(headers).items() if not name.endswith("argsrepr")})
    except (ValueError, AttributeError, RecursionError):
        return "not readable"


#: With the reason, and the signal that was asked for.
task_revoked = Hook[Request, str, Signals | None](
    lambda r, reason, _: log.info("Task %s[%s] revoked: %s", r.name, r.id, reason)
)
task_lost = Hook[Request, str](lambda r, reason: log.error("Task %s[%s] lost: %s", r.name, r.id, reason))
task_requeued = Hook[Request, str](lambda r, reason: log.warning("Task %s[%s] runs again: %s", r.name, r.id, reason))
task_interrupted = Hook[Request, str](
    lambda r, reason: log.warning(
        "Task %s[%s] was interrupted and runs again: this start is not counted. %s", r.name, r.id, reason
    )
)
task_unknown = Hook[Request, float](
    lambda r, grace: log.warning(
        "Task %s[%s] is not registered here. It goes back for a worker that knows it, for at most %g s "
        "(TASKQ_UNKNOWN_TASK_GRACE).",
        r.name, r.id, grace,
    )
)  # fmt: skip
task_timed_out = Hook[Request](
    lambda r: log.error("Task %s[%s] was killed: its time limit of %s s ran out.", r.name, r.id, r.time_limit)
)
task_taken_over = Hook[Request](
    lambda r: log.warning(
        "Task %s[%s] does not start here: its message is no longer held, or the task has ended.", r.name, r.id
    )
)
task_not_registered = Hook[Request](
    lambda r: log.error(
        "Task %s[%s] is not registered here: is its app in INSTALLED_APPS, and its tasks module imported?", r.name, r.id
    )
)
request_failed = Hook[Request, Exception](
    lambda r, error: log.error(
        "Task %s[%s] can't be handed over: check the options of the task.", r.name, r.id, exc_info=error
    )
)
time_limit_ignored = Hook[Request, str](
    lambda r, pool: log.warning(
        "Task %s[%s] starts without its time limit of %g s: the %s pool can't kill a task, use prefork or asyncio.",
        r.name, r.id, r.time_limit, pool,
    )
)  # fmt: skip
task_not_terminated = Hook[Request, str](
    lambda r, pool: log.warning(
        "Task %s[%s] is not terminated and runs to its end: the %s pool can't kill a task, use prefork or asyncio.",
        r.name, r.id, pool,
    )
)  # fmt: skip
failure_handler_raised = Hook[Request](
    lambda r: log.exception("A handler of task %s[%s] raised an error.", r.name, r.id)
)

# -- remote control and events

remote_connected = Hook[str](log.debug, "Remote control is connected to %s.")
remote_disconnected = Hook[str, Exception, float](
    log.warning, "Remote control has no connection to %s: %r. It connects again in %.1f s at most."
)
remote_message_unreadable = Hook[Exception](log.warning, "A message of remote control can't be read: %r.")
remote_call_failed = Hook[Exception](lambda error: log.error("A call of remote control failed.", exc_info=error))

# -- the pools

delivery_failed = Hook[Delivery, BaseException](
    lambda d, error: log.error("Task %s[%s] could not be run.", d.name, d.task_id, exc_info=error)
)
exit_refused = Hook[BaseException](
    log.error, "A coroutine that a task has started tried to end its process, which other tasks share: %r"
)
outcome_not_sent = Hook[Delivery](
    lambda d: log.exception("The outcome of %s[%s] can't be handed over.", d.name, d.task_id)
)
job_not_terminated = Hook[int, Exception](log.error, "Job %d is not terminated. %s")
wrong_job_answered = Hook[int, object](log.error, "A child answered job %d, but it had another job: %r.")
child_failed = Hook[()](log.exception, "A child of the pool fails.")
connections_short = Hook[str, float](
    log.warning,
    "A task has waited for a connection to %r for %g s: close connections before long waits, or raise "
    "TASKQ_GREEN_DATABASE_CONNECTIONS.",
)
connection_not_closed = Hook[str, Exception](log.warning, "A connection to %r could not be closed: %r")
driver_blocks = Hook[str, str, str](
    log.warning, "The %s pool: the driver %s of the database %r blocks all greenlets while it works."
)
coroutines_refused = Hook[str, list[str]](
    lambda kind, names: log.warning(
        "The %s pool can't run async def tasks, which fail here: they need a worker with --pool asyncio: %s",
        kind, ", ".join(names[:_SHOWN]),
    )
)  # fmt: skip
eventlet_discouraged = Hook[()](
    log.warning, "The eventlet pool: the maintainers of eventlet advise against new use of it. Look at gevent."
)
pool_restarting = Hook[()](log.info, "The pool will be restarted: the code is being imported anew.")
pool_restarted = Hook[()](log.info, "The code is imported anew: processes are replaced, each when its task has ended.")
pool_not_restarted = Hook[str](
    log.error, "The pool is not restarted, and goes on with the code that it has: the new fork server ended with %s."
)
code_not_imported = Hook[()](lambda: log.critical("The project's code can't be imported.", exc_info=True))
pool_scaled = Hook[int, int](log.info, "The pool changes by %+d to %d.")
child_not_forked = Hook[str](log.error, "No child could be forked: %s")
child_connection_failed = Hook[OSError](log.error, "No child can be forked: %s")
children_slow = Hook[list[int]](
    log.warning, "Children %s of the pool don't come up: look at worker_process_init's receivers."
)
child_too_large = Hook[int, int](log.warning, "Child %d has %d KiB, more than max_memory_per_child: replaced.")
child_frozen = Hook[int, float](log.error, "Child %d has begun nothing for %g s, as if it were frozen: replaced.")
child_blocked = Hook[list[Delivery], float](
    lambda running, seconds: log.warning(
        "A child of the pool has started nothing for %.0f s: one of its tasks may block it: %s",
        seconds, ", ".join(f"{d.name}[{d.task_id}]" for d in running[:_SHOWN]),
    )
)  # fmt: skip
child_killed_for_task = Hook[Delivery, int](
    lambda d, others: log.error(
        "Task %s[%s] was ended and goes on: its process is killed, with %d other tasks.", d.name, d.task_id, others
    )
)
child_unreadable = Hook[int, str](log.error, "Child %d is killed: %s.")
child_unreachable = Hook[int](log.error, "Child %d has closed its socket and goes on: killed.")
connection_inherited = Hook[str](log.warning, "A connection to %r was open when the pool was forked; it is left alone.")
fork_server_frozen = Hook[float](
    log.critical, "The fork server has not answered for %g s, as if it were frozen: it is killed, and the worker ends."
)
fork_server_failed = Hook[()](log.exception, "The fork server fails.")


@Hook
def child_exited_early(slot: int, how: str, failures: int, pause: float) -> None:
    log.log(
        logging.ERROR if failures > 1 else logging.WARNING,
        "Child %d of the pool ended (%s) before it had run anything, %d times in a row; the next one comes in "
        "%.2f s. If this goes on, look at memory and at the receivers of taskq.signals.worker_process_init.",
        slot, how, failures, pause,
    )  # fmt: skip


@Hook
def threads_found(names: list[str]) -> None:
    log.warning(
        "Threads were started before the pool was forked: %s. They don't exist in the children, where locks "
        "they hold stay locked: start them in a receiver of taskq.signals.worker_process_init.",
        ", ".join(sorted(names)),
    )


# -- the store thread

store_thread_failed = Hook[()](lambda: log.critical("The store thread failed.", exc_info=True))
last_writes_failed = Hook[Exception](log.error, "The database was not there at the end: %s")


@Hook
def ends_unwritten(count: int, settlements: Sequence[Settlement]) -> None:
    shown = ", ".join(f"{s.name}[{s.task_id}] {s.state}" for s in settlements[:_SHOWN])
    log.error(
        "The database was not there before the worker ended. Ends that were not written: %d%s. Messages that the "
        "worker held go back when its lease runs out; tasks that have run then run again, or fail if acks_late is off.",
        count, f" ({shown}{', ...' if count > _SHOWN else ''})" if shown else "",
    )  # fmt: skip


#: Settlements that were committed together.
tasks_settled = Hook[Sequence[Settlement]](silent)
close_failed = Hook[()](lambda: log.debug("closing a broken connection failed", exc_info=True))
lease_lost = Hook[str](log.warning, "%s was taken for dead by another worker and begins a new lease.")
peer_recovered = Hook[str, int, int](log.warning, "%s (pid %s) is dead; %s messages that it held went back.")
name_in_use = Hook[int, str](log.warning, "The worker with pid %s is named %s too: see the option -n.")
retention_behind = Hook[float, int](
    log.warning,
    "Old rows are deleted more slowly than tasks end: %.0f s and %s rows so far, and there are more over age. "
    "Shorter TASKQ_RESULT_EXPIRES, or ignore_result, writes and keeps less.",
)
messages_unknown = Hook[int](
    log.warning, "%s messages that this worker held and did not know went back, as those of a claim that was cut off."
)
settlement_dropped = Hook[Settlement, str](
    lambda s, why: log.warning(
        "%s[%s] ended with %s, but %s: nothing is settled.", s.name, s.task_id, s.state, why
    )
)  # fmt: skip
settlement_found = Hook[Settlement](
    lambda s: log.info(
        "%s[%s] ended with %s: the database had committed that, though its answer was lost.", s.name, s.task_id, s.state
    )
)
rows_locked = Hook[Exception](
    lambda error: log.info("Rows are locked by another transaction: what needs them waits, the rest goes on. %s", error)
)
write_failed = Hook[()](log.exception, "Something could not be written: the messages that it was about go back.")
requeue_failed = Hook[tuple[int, ...]](
    log.exception, "Messages %s can't even be given back; that is tried again every TASKQ_POLL_INTERVAL."
)
reports_dropped = Hook[int](log.error, "States of %s running tasks could not be written and are dropped.")
report_refused = Hook[Progress, Exception](
    lambda r, error: log.error("The state %r of task %s can't be stored: %s", r.state, r.task_id, error)
)


@Hook
def pauses_changed(paused: list[str], resumed: list[str]) -> None:
    if paused:
        log.warning("Paused: nothing is taken from %s.", ", ".join(paused))
    if resumed:
        log.warning("Resumed: tasks are taken from %s again.", ", ".join(resumed))


statistics_refused = Hook[Exception](log.error, "Statistics can't be stored and are dropped: %s")
declared_differently = Hook[str, str, list[str]](
    lambda kind, name, different: log.warning(
        "The %s %r was declared with another %s, which stays: declare it alike in TASKQ_QUEUES, or delete it.",
        kind, name, ", ".join(different),
    )
)  # fmt: skip


@Hook
def database_failed(error: Exception, failures: int, transient: bool) -> None:
    level = logging.INFO if transient else logging.ERROR
    log.log(level, "The database gave an error; trying again (%s): %s", failures, error)

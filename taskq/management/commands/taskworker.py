"""``manage.py taskworker``: run a worker."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import shutil
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import Error

from taskq.conf import database_broker_alias, masked_url, settings
from taskq.exceptions import QueueNotFound
from taskq.logs import log_descriptor
from taskq.management import arguments
from taskq.worker.process import reexec
from taskq.worker.process.daemon import User, detach, redirect_streams
from taskq.worker.process.exit import end_process, run_exit_handlers
from taskq.worker.process.nodenames import expand, node_name
from taskq.worker.process.pidfile import PidFile, PidFileError
from taskq.worker.process.streams import protect_streams

if TYPE_CHECKING:
    # Loads the whole worker, which the supervisor of --reload never needs.
    from taskq.worker.main import WorkerConfig, WorkerExit
    from taskq.worker.node import Service


class Command(BaseCommand):
    """Parses, calls, prints."""

    help = "Run a worker: take tasks from queues and run them."
    requires_migrations_checks = False
    #: Steps that are done already: see ``taskq.worker.process.reexec``.
    _marks: frozenset[str] = frozenset()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options; those without a value here follow the setting of the same name."""
        add = parser.add_argument
        add("-n", "--hostname", help="name of the node: w1, w1@%%h; %%h host, %%n host without domain, %%d domain")
        add("-Q", "--queues", type=arguments.names, default=[], help="queues to take tasks from, separated by commas")
        add("-X", "--exclude-queues", type=arguments.names, default=[], help="declared queues to leave out")
        add("-b", "--broker", help="broker URL, instead of TASKQ_BROKER_URL; not for one with a password")
        add("-c", "--concurrency", type=arguments.concurrency, help="tasks that run at once; auto: the number of CPUs")
        add(
            "--autoscale",
            type=arguments.autoscale,
            metavar="MAX,MIN",
            help="grow to MAX processes or threads while tasks wait, shrink to MIN; instead of --concurrency",
        )
        add("-P", "--pool", choices=arguments.POOLS, help="pool in which tasks run")
        add("-l", "-L", "--loglevel", type=arguments.level, help="level of the worker's log")
        add(
            "-f",
            "--logfile",
            help="file for the worker's log; %%n, %%h and others are expanded, with %%i or %%I each process has a file",
        )
        add("-O", dest="optimization", choices=["default", "fair"], help="fair: hand over one task at a time")
        add("--prefetch-multiplier", type=arguments.whole, help="messages held for each process; 0 is no limit")
        add("--disable-prefetch", action="store_true", help="hold only messages that can run at once")
        add("--time-limit", type=arguments.seconds, help="seconds after which a task's process is killed")
        add(
            "--soft-time-limit",
            type=arguments.seconds,
            help="seconds after which SoftTimeLimitExceeded is raised in a task",
        )
        add("--disable-rate-limits", action="store_true", help="start tasks whatever their rate limits are")
        add("--max-tasks-per-child", type=arguments.count, help="tasks after which a process is replaced")
        add("--max-memory-per-child", type=arguments.count, help="KiB above which a process is replaced")
        add("--purge", "--discard", action="store_true", help="delete what waits in its queues before it starts")
        add("-E", "--task-events", action="store_true", default=None, help="send events of tasks, for monitors")
        add("--serve", metavar="ADDRESS", help="serve /metrics, /live and /ready over HTTP: 127.0.0.1:9100, unix:/path")
        add("--without-heartbeat", action="store_true", help="send no events of the worker itself")
        add("--heartbeat-interval", type=arguments.seconds, default=2.0, help="seconds between its heartbeat events")
        add("-q", "--quiet", action="store_true", help="start without the banner")
        add("--reload", action="store_true", help="restart when the code changes; for development")
        add("-D", "--detach", action="store_true", help="run in the background; use --logfile too")
        add("--executable", help="Python that runs the worker, instead of this one")
        add("--pidfile", help="file for the worker's pid; %%n, %%h and others are expanded")
        add("--workdir", help="directory to change to")
        add("--umask", type=arguments.umask, help="file mode mask when detaching, in octal")
        add("--uid", help="user to become, by name or number")
        add("--gid", help="group to become, by name or number")

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command of a command line, whose standard streams may be closed or broken."""
        protect_streams()
        style = self.stderr.style_func
        self.stdout, self.stderr = OutputWrapper(sys.stdout), OutputWrapper(sys.stderr)
        self.stderr.style_func = style
        # The project stays loaded: what is loaded from here on need not be searched for garbage together with it.
        gc.freeze()
        super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Ask the database for its migrations before Django's checks, which give a traceback if it is away."""
        if options["broker"]:
            self._use_broker(options["broker"])
        self._marks = reexec.take_marks()
        if not self._supervises(options):
            self._refuse_unmigrated()
        return super().execute(*args, **options)

    def check(self, *args: Any, **options: Any) -> None:
        """Run the system checks, but for the one that loads Django's commands for migrations."""
        from taskq.management import migrations

        migrations.forget_check_of_commands()
        super().check(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until the worker has ended; the exit status is 0 after a clean stop."""
        if options["reload"] and options["detach"]:
            raise CommandError("--reload is for development, in a terminal: it does not go with --detach.")
        if options["reload"] and options["purge"]:
            raise CommandError("--purge does not go with --reload: each change of the code would purge the queues.")
        directory = os.getcwd()
        try:
            if options["executable"] and reexec.EXECUTED not in self._marks:
                self._change_python(options["executable"])
            if self._supervises(options):
                self._supervise()
            ended = self._run(options)
            if ended.restart:
                os.chdir(directory)
                self._reexec(options)
        except (
            PidFileError,
            ImproperlyConfigured,
            QueueNotFound,
            ValueError,
            OSError,
            RuntimeError,
        ) as error:
            if options["traceback"]:
                raise
            raise CommandError(str(error)) from error
        if ended.left_behind:
            end_process(ended.status, run_exit_handlers)
        sys.exit(ended.status)

    def _supervises(self, options: dict[str, Any]) -> bool:
        return options["reload"] and reexec.RELOADED not in self._marks

    def _change_python(self, executable: str) -> NoReturn:
        reexec.reexec(self._marks | {reexec.EXECUTED}, shutil.which(executable) or executable)

    def _reexec(self, options: dict[str, Any]) -> NoReturn:
        marks = self._marks | {reexec.RESTARTED}
        if options["detach"]:
            marks |= {reexec.DETACHED}
            # If the new start fails, its error goes to the log: there is no terminal.
            redirect_streams(log_descriptor())
        reexec.reexec(marks)

    def _run(self, options: dict[str, Any]) -> WorkerExit:
        """Check and prepare, go to the background if asked for, and run the worker."""
        from taskq.worker.main import validate_config

        config = self._config(options)
        pidfile = PidFile(expand(options["pidfile"], config.name)) if options["pidfile"] else None
        validate_config(config)
        user = User.find(options["uid"], options["gid"])
        if options["workdir"]:
            os.chdir(options["workdir"])
        serve = self._address(options["serve"] or settings.SERVE, config.name)
        if not options["quiet"]:
            self._print_banner(
                config, "ON" if _sends_events(options) else "OFF (enable -E to monitor tasks in this worker)"
            )
        if options["detach"] and reexec.DETACHED not in self._marks:
            if options["umask"] is not None:
                os.umask(options["umask"])
            config.background = detach()
        # HUP starts a worker again, not its queues.
        purges = options["purge"] and reexec.RESTARTED not in self._marks
        interval = None if options["without_heartbeat"] else options["heartbeat_interval"]
        services = self._services(serve, tasks=_sends_events(options), interval=interval)
        return self._work(config, pidfile, user, purges, services)

    def _services(self, serve: Any, **events: Any) -> list[Service]:
        from taskq.control.service import services
        from taskq.events.service import services as event_services

        found = [*services(), *event_services(**events)]
        if serve is not None:
            from taskq.metrics.service import Serving

            found.append(Serving(serve))
        return found

    def _address(self, text: str | None, name: str) -> Any:
        """Return the address to serve on, while there is a terminal to say that nothing can listen there."""
        if not text:
            return None
        from taskq.metrics import addresses

        address = addresses.parse(expand(text, name) if text.startswith("unix:") else text)
        addresses.check(address)
        return address

    def _work(
        self, config: WorkerConfig, pidfile: PidFile | None, user: User, purges: bool, services: list[Service]
    ) -> WorkerExit:
        from taskq.worker.main import run_worker

        ended = None
        if pidfile:
            pidfile.acquire()
        try:
            if logfile := config.logfile_of(0):
                user.prepare_log(logfile)
            user.become()
            if purges:
                self._purge(config)
            ended = run_worker(config, services)
            return ended
        finally:
            # A worker that starts again keeps its pid, and so its file.
            if pidfile and not (ended and ended.restart):
                pidfile.release()

    def _purge(self, config: WorkerConfig) -> None:
        from django.db import connections

        from taskq.control.purging import purge, purgeable

        try:
            count = purge(purgeable(config.queues))
        except Error as error:
            raise CommandError(f"The queues can't be purged: {error}") from error
        finally:
            connections.close_all()
        self.stdout.write(f"purge: Erased {count} messages from the queue.")
        self.stdout.flush()

    def _config(self, options: dict[str, Any]) -> WorkerConfig:
        from taskq.worker.main import WorkerConfig

        name = node_name(options["hostname"])
        pool = {"processes": "prefork"}.get(options["pool"], options["pool"]) or settings.POOL
        autoscale = options["autoscale"] or self._autoscale_of_settings(options, pool)
        if autoscale and options["concurrency"]:
            self.stderr.write(f"--concurrency is not used with --autoscale: the pool begins with {autoscale[1]}.")
        return WorkerConfig(
            name=name,
            queues=self._queues(options),
            concurrency=autoscale[1] if autoscale else self._concurrency(options, pool),
            autoscale=autoscale,
            pool=pool,
            time_limit=_first(options["time_limit"], settings.TIME_LIMIT),
            soft_time_limit=_first(options["soft_time_limit"], settings.SOFT_TIME_LIMIT),
            disable_rate_limits=options["disable_rate_limits"] or settings.DISABLE_RATE_LIMITS,
            prefetch_multiplier=self._multiplier(options),
            fair=(options["optimization"] or settings.OPTIMIZATION) == "fair",
            max_tasks_per_child=_first(options["max_tasks_per_child"], settings.MAX_TASKS_PER_CHILD),
            max_memory_per_child=_first(options["max_memory_per_child"], settings.MAX_MEMORY_PER_CHILD),
            loglevel=options["loglevel"],
            logfile=options["logfile"],
            color=not options["no_color"],
            restarted=reexec.RESTARTED in self._marks,
            detached=options["detach"],
        )

    def _autoscale_of_settings(self, options: dict[str, Any], pool: str) -> tuple[int, int] | None:
        """Return ``TASKQ_AUTOSCALE``, ``None`` if a fixed size is asked for: by an option, or by a pool without one."""
        return None if options["concurrency"] or pool == "solo" else settings.AUTOSCALE

    def _concurrency(self, options: dict[str, Any], pool: str) -> int:
        return 1 if pool == "solo" else options["concurrency"] or settings.CONCURRENCY or arguments.cpus()

    def _queues(self, options: dict[str, Any]) -> list[Any]:
        from taskq.messages.routing import select

        return list(select(options["queues"], options["exclude_queues"]).values())

    def _multiplier(self, options: dict[str, Any]) -> int | None:
        if options["disable_prefetch"]:
            return 1
        given: int | None = options["prefetch_multiplier"]
        return settings.PREFETCH_MULTIPLIER if given is None else given

    def _print_banner(self, config: WorkerConfig, events: str) -> None:
        from taskq.calls.registry import tasks
        from taskq.worker.process.banner import banner

        known = list(tasks) if config.loglevel in {"INFO", "DEBUG"} else ()
        pool = "processes" if config.pool == "prefork" else config.pool
        self.stdout.write(
            banner(
                node=config.name,
                system=f"{platform.platform(terse=True)}, Python {platform.python_version()}",
                broker=masked_url(settings.BROKER_URL),
                results=f"database '{settings.DATABASE}'",
                concurrency=_concurrency(config),
                pool=pool,
                events=events,
                queues=config.queues,
                tasks=known,
            )
        )
        self.stdout.flush()

    def _use_broker(self, url: str) -> None:
        from django.conf import settings as django_settings

        if masked_url(url) != url:
            self.stderr.write(
                "--broker has a password, which every user of this machine can read in the list of processes: "
                "put the URL into the environment, or into a file (TASKQ_BROKER_URL_FILE)."
            )
        django_settings.TASKQ_BROKER_URL = url
        settings.clear()

    def _refuse_unmigrated(self) -> None:
        """Refuse to start on a database that a newer version's migrations were not applied to."""
        from django.db import connections

        from taskq.engines import for_alias
        from taskq.management import migrations

        alias = database_broker_alias() or settings.DATABASE
        if alias not in connections.settings:
            raise CommandError(
                f"There is no database {alias!r} in DATABASES: change TASKQ_DATABASE, TASKQ_BROKER_URL or --broker."
            )
        connection = connections[alias]
        try:
            missing = migrations.missing(connection)
            tables = for_alias(alias).tables_without_transactions()
        except Error as error:
            raise CommandError(f"Database '{alias}' does not say which migrations it has: {error}") from error
        finally:
            connection.close()
        if missing:
            raise CommandError(
                f"Database '{alias}' lacks migrations of taskq ({', '.join(missing)}): run manage.py migrate first."
            )
        if tables:
            raise CommandError(
                f"Database '{alias}' has no transactions on {', '.join(tables)}: ALTER TABLE ... ENGINE=InnoDB first."
            )

    def _supervise(self) -> NoReturn:
        from taskq.worker.process.autoreload import supervise

        def say(line: str) -> None:
            with contextlib.suppress(OSError):  # the terminal may be closed
                self.stdout.write(line)
                self.stdout.flush()

        sys.exit(supervise(self._marks, say))


def _concurrency(config: WorkerConfig) -> str:
    return "{{min={1}, max={0}}}".format(*config.autoscale) if config.autoscale else str(config.concurrency)


def _sends_events(options: dict[str, Any]) -> bool:
    return bool(_first(options["task_events"], settings.SEND_TASK_EVENTS))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)

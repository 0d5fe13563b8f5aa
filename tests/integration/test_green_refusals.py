"""What the pools of greenlets refuse at start, and say."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import StartWorker

if not (find_spec("gevent") and find_spec("eventlet")):
    pytest.skip("gevent and eventlet are not installed", allow_module_level=True)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_driver_that_blocks_is_refused(alias: str, start_worker: StartWorker) -> None:
    worker = start_worker("-P", "gevent", ready=False, environment={"TEST_APPS": "tests.support.green"})
    assert worker.wait() == 1
    assert "The gevent pool can't use the driver MySQLdb of the database 'default'" in worker.log
    assert "use PyMySQL" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_missing_library_is_named(alias: str, start_worker: StartWorker, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'gevent' else real(name, package)\n"
    )
    environment = {"TEST_APPS": "tests.support.green", "PYTHONPATH": str(hidden)}
    worker = start_worker("-P", "gevent", ready=False, environment=environment)
    assert worker.wait() == 1
    assert "The gevent pool needs the package gevent: pip install 'taskq-django[gevent]'" in worker.log

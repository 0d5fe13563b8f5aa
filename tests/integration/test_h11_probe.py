from __future__ import annotations
import pytest, sys
from tests.support import workers
from tests.support.jobs import endings
from testproject.arithmetic.tasks import add
from taskq import send_task
from taskq.models import TaskRun

def test_big(alias, start_worker, processes):
    w = start_worker("-c", "2")
    def t(what, r):
        try:
            got = r.get(timeout=8, propagate=False)
            print(alias, what, "->", repr(got)[:100])
            print("   then", add.delay(2, 2).get(timeout=8), r.state)
        except Exception as e:
            print(alias, what, "FAILED", repr(e)[:100], w.running); print(w.log[-1500:])
            raise
    t("nul", endings.fail_with.delay("a\x00b"))
    t("surrogate", endings.fail_with.delay("a\udc80b"))
    t("big error", endings.fail_with.delay("x" * 3000000))
    t("20", endings.big.delay(20))
    rs = [endings.big.delay(1) for _ in range(30)]
    print(len([r.get(timeout=20) for r in rs]))
    t("say nul", endings.say.delay("a\x00b"))
    t("say surrogate", endings.say.delay("a\udc80b"))
    t("say long", endings.say.delay("P" * 60))
    t("say big", endings.say.delay("P", 20))

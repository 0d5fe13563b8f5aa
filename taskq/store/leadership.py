"""Leadership: a duty for which at most one worker is responsible, such as the deletion of old rows.

The leader is a row of ``models.Lease``; it leads as long as it is registered as a worker.
"""

from __future__ import annotations

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Lease, Worker


def lead(name: str, token: str, alias: str | None = None) -> bool:
    """Tell whether the worker ``token`` leads the duty ``name``; it becomes the leader if there is none that lives."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        lease, _ = Lease.objects.using(alias).select_for_update().get_or_create(name=name)
        if lease.holder != token and not Worker.objects.using(alias).filter(token=lease.holder).exists():
            lease.holder = token
            lease.save(using=alias, update_fields=["holder"])
    return lease.holder == token


def note_done(name: str, alias: str | None = None) -> None:
    """Note that the duty ``name`` was done now."""
    alias = alias or settings.DATABASE
    leases = Lease.objects.using(alias)
    if not leases.filter(name=name).update(done_at=for_alias(alias).now_expression()):
        leases.bulk_create([Lease(name=name, done_at=for_alias(alias).now_expression())], ignore_conflicts=True)

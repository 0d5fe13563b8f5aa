"""The addresses of a project with an admin site of its own, under a name of its own, instead of Django's."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

import taskq_admin.admin  # noqa: F401 - registers the pages

site = admin.AdminSite(name="ops")
for model, its_admin in list(admin.site._registry.items()):
    site.register(model, type(its_admin))

urlpatterns = [path("ops/", site.urls)]

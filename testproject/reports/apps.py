"""The reports app: a file is uploaded, a task reads it, the page shows how far it is."""

from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "testproject.reports"

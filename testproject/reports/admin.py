"""Reports in Django's admin."""

from django.contrib import admin
from django.http import HttpRequest

from .models import Report


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin):
    list_display = ["title", "state", "task_id", "created_at"]
    search_fields = ["title", "task_id"]
    readonly_fields = ["summary", "task_id", "created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Leave that to the site's form, which sends the task with it."""
        return False

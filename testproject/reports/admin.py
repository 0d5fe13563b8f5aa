"""Reports in Django's admin."""

from django.contrib import admin

from .models import Report


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin):
    list_display = ["title", "state", "task_id", "created_at"]
    search_fields = ["title", "task_id"]
    readonly_fields = ["summary", "task_id", "created_at"]

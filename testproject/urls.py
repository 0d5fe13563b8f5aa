"""The site: reports at the root, Django's admin beside it, and the door of the demo."""

from django.contrib import admin
from django.urls import include, path

from .door import enter

urlpatterns = [
    path("demo/<str:key>/", enter, name="demo"),
    path("admin/", admin.site.urls),
    path("", include("testproject.reports.urls")),
]

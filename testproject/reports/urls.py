"""The pages of the reports app."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("reports/<int:pk>/", views.detail, name="report"),
    path("reports/<int:pk>/status/", views.status, name="report-status"),
]

"""One URL, ``metrics``, which Prometheus asks by default: ``path("", include("taskq.contrib.metrics.urls"))``."""

from django.urls import path

from .views import metrics

app_name = "taskq_metrics"
urlpatterns = [path("metrics", metrics, name="metrics")]

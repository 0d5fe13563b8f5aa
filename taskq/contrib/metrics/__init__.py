"""The figures of the cluster at a URL of the project: ``path("", include("taskq.contrib.metrics.urls"))``."""

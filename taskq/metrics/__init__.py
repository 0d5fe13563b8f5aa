"""Metrics in Prometheus' text format, of the cluster by its rows and of one worker by its hooks; probes over HTTP."""

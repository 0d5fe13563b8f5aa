"""An app whose tasks do what no task should."""

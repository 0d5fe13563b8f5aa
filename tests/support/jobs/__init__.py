"""An app with tasks that tests run in real workers."""

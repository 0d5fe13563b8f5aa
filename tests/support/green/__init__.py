"""An app whose tasks run in greenlets."""

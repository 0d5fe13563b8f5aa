"""An app with tasks that have a rate limit. Each notes when it starts."""

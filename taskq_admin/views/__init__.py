"""Views that several ``ModelAdmin`` classes serve at addresses of their own."""

"""Tasks: their definition, their registry, and the calls that send them."""

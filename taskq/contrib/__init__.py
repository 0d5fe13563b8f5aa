"""Optional parts, each for a project that wants it: nothing of taskq imports them."""

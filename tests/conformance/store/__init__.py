"""The store on every database: one suite, the same answers."""

"""An app whose processes export their spans, one JSON object a line, into the file ``TEST_SPANS``."""

"""An app whose receivers note every signal of taskq's that they hear, in the file that ``TEST_SIGNALS`` names."""

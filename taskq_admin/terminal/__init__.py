"""The admin in a terminal: tables of text, and a monitor. It reads and acts as the pages do."""

"""Attackers: each test holds one position, such as writing to the tables, and tries to get further."""

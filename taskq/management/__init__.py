"""Commands of `manage.py`: they parse arguments, call, and print."""

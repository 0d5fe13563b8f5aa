"""Messages: the wire protocol, serializers, values and exceptions as text, signing, and routing to queues.

All rooms from ``calls`` upwards call it. It never sends a message and never touches the database.
"""

"""Messages: what a task is on the wire, where it goes, and who may have sent it.

``protocol`` builds and reads, ``serializers`` and ``reprs`` turn values into
text, ``signing`` seals, ``routing`` chooses the queue; pure functions, all of
them. ``publisher`` alone sends.
"""

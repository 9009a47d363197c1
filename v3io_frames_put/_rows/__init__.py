"""Pure: tabular data to encoded records, and back.

No socket, clock, thread or random number lives in this package; it imports only
``config`` and ``errors`` of ours. Data goes one way: ``source`` (windows of Arrow
columns) -> ``json_text`` or ``arrow_ipc`` (bytes) -> ``mapping`` (key, shard,
client info) -> ``packs`` -> ``records``. ``plan`` ties them together.
"""

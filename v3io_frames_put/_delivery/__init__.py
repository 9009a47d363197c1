"""Which record is sent when, and what the answers mean.

Pure but for what acts: ``transport`` and its ``connection`` (sockets), ``couriers``
(threads), ``uploader`` and ``clock`` (time and chance), and what reads a stream.
"""

"""Which record is sent when, and what the answers mean.

Pure but for ``transport`` (sockets), ``uploader`` (threads and the clock) and
``journal`` (the disk).
"""

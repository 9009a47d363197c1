"""Acts: sockets, threads and clocks."""

"""What Dask and Spark share: a run cut into tasks, each of which may be run again.

Knows neither of the two. The driver makes a `ClusterRun`, every task sends one
partition by `send_partition`, and the driver puts their receipts together.
"""

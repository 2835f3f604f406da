"""Traffic for a cluster: by opensearch-benchmark with a workload of our own or public ones, or by clients of our own.

`cli` reads the options and chooses; `benchmark` installs and runs opensearch-benchmark; `documents` makes
what our workload indexes; `clients` is the generator that needs nothing but Python; `target` is where all of it goes.
"""

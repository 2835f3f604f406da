"""Starts and stops what a demonstration or a measurement needs, on loopback: clusters, HAProxy, the agent.

`processes` owns the child processes and ends only those; `side` builds one side (primary or shadow)
out of them. Nothing here sends traffic.
"""

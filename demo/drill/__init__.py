"""Kills what the agent depends on, and the agent, under an open-loop load, and proves that nothing is missing.

Real HAProxy, a real broker, NGINX as the cluster. Called by `scripts/drill`.
"""

"""The quickstart: two clusters, two HAProxies, two agents, real traffic, and the proof that all of it balances.

`traffic` is the clients, `proof` compares what they know with journals, ledgers and clusters, `show`
prints. `python3 -m quickstart --agent FILE` puts them together; `scripts/quickstart` builds the agent
and calls it.
"""

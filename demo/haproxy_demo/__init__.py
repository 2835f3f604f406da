"""The demonstration: two clusters, two HAProxies, two agents, perhaps a broker; real traffic, and the proof that all of it balances.

`options` is what can be asked for, `prepare` finds or makes what is needed, `flow` puts it together, `drive` sends the
traffic, `proof` compares what the clients know with journals, ledgers, logs, topic and clusters, `show` prints.
"""

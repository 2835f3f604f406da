"""A closed-loop comparison through a real HAProxy: without SPOE, with capture alone, with everything on.

Origin and shadow are NGINX, the clients are wrk, and all of them share the machine, so only the ratios
of one run mean anything. Called by `scripts/bench --haproxy`.
"""

"""Containers: an engine where there is none, the base images where no registry is reached, and the images' proof.

`engine` finds a Docker engine or starts one, `containers` calls its client, `cluster` makes nodes to stand behind HAProxy,
`load` plays the clients, and `proof` breaks one thing after the other and looks at what the clients saw. Needs nothing but
Python and what `scripts/setup docker` installs.
"""

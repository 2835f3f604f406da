"""A small document store that speaks the REST calls of the quickstart. It is not Elasticsearch.

`store` holds the documents, `query` decides what a search finds, `rest` turns requests into calls on
the store, `http_server` speaks HTTP/1.1, and `python3 -m nodes` starts the nodes of one cluster.
It keeps nothing on disk, scores nothing, and makes every write visible to searches at once.
"""

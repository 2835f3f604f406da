"""Asks a real node for everything that the shadow engine must understand, and writes down what it answers.

    python3 -m engines.examples elasticsearch FILE        (in demo/; opensearch likewise)

Each line of FILE is one request with its answer, in the order in which they were asked:
`{"name", "request": {"method", "target", "headers", "body"}, "response": {"status", "headers", "body"}}`.
Bodies are text, or `body_base64` where they are not UTF-8. The command fails when a status is not the one
that is written here, so it also proves what the node can do.
"""

import base64
import gzip
import json
import sys

from .node import Node

JSON = (("content-type", "application/json"),)
NDJSON = (("content-type", "application/x-ndjson"),)
NO_TYPE = ()


def lines(*items):
    return "".join(json.dumps(item) + "\n" for item in items)


class Session:
    """The conversation with one node, and what was kept from its answers."""

    def __init__(self, node, engine, file):
        self.node = node
        self.engine = engine
        self.file = file
        self.wrong = []
        self.count = 0

    def ask(self, name, expected, method, target, body="", headers=None):
        """`expected` is a status, or one for each engine."""
        if isinstance(expected, dict):
            expected = expected[self.engine]
        if isinstance(body, dict):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if headers is None:
            headers = (NDJSON if "_bulk" in target or "_msearch" in target else JSON) if body else NO_TYPE
        status, fields, content = self.node.ask(method, target, body, headers)
        self.count += 1
        if status != expected:
            self.wrong.append(f"{name}: {method} {target}: {status}, not {expected}: {content[:300]!r}")
        request = {"method": method, "target": target, "headers": [list(field) for field in headers], **text(body)}
        response = {"status": status, "headers": [[key.lower(), value] for key, value in fields], **text(content)}
        self.file.write(json.dumps({"name": name, "request": request, "response": response}, ensure_ascii=False) + "\n")
        try:
            return json.loads(content)
        except ValueError:
            return {}


def text(body):
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


ADD = {"source": "ctx._source.n += params.by", "lang": "painless", "params": {"by": 2}}


def everything(ask, elastic):
    administration(ask)
    index_and_create(ask, elastic)
    conditions(ask)
    updates(ask)
    deletes(ask)
    reads(ask)
    bulks(ask, elastic)
    refused(ask)
    by_query(ask)
    searches(ask)
    contexts(ask, elastic)
    removal(ask)


def administration(ask):
    ask("create index", 200, "PUT", "/w", {
        "settings": {"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": "-1"},
        "mappings": {"properties": {"n": {"type": "long"}, "tag": {"type": "keyword"}}},
    })
    ask("create index again", 400, "PUT", "/w")
    ask("create index by an invalid name", 400, "PUT", "/Upper")
    ask("aliases", 200, "POST", "/_aliases", {"actions": [{"add": {"index": "w", "alias": "alias"}}]})
    ask("put alias", 200, "PUT", "/w/_alias/other-alias")
    ask("put mapping", 200, "PUT", "/w/_mapping", {"properties": {"list": {"type": "long"}}})
    ask("put settings", 200, "PUT", "/w/_settings", {"index": {"max_result_window": 20000}})
    ask("put composable template", 200, "PUT", "/_index_template/t", {"index_patterns": ["templated-*"], "template": {"settings": {"number_of_replicas": 0}}})
    ask("put pipeline", 200, "PUT", "/_ingest/pipeline/stamp", {"processors": [{"set": {"field": "stamped", "value": True}}]})
    ask("put stored script", 200, "PUT", "/_scripts/add", {"script": {"lang": "painless", "source": "ctx._source.n += params.by"}})


def index_and_create(ask, elastic):
    ask("index, created", 201, "PUT", "/w/_doc/1", {"n": 1})
    ask("index, updated", 200, "PUT", "/w/_doc/1", {"n": 2})
    ask("index by POST with an id", 201, "POST", "/w/_doc/2", {"n": 2})
    ask("index without id", 201, "POST", "/w/_doc", {"n": 3})
    ask("index without id, refreshed", 201, "POST", "/w/_doc?refresh=true", {"n": 3})
    ask("index, op_type create", 201, "PUT", "/w/_doc/3?op_type=create", {"n": 3})
    ask("index, op_type create, refused", 409, "PUT", "/w/_doc/3?op_type=create", {"n": 33})
    ask("create", 201, "PUT", "/w/_create/4", {"n": 4})
    ask("create, refused", 409, "PUT", "/w/_create/4", {"n": 44})
    ask("create by POST", 201, "POST", "/w/_create/5", {"n": 5})
    ask("index with routing", 201, "PUT", "/w/_doc/6?routing=r1", {"n": 6})
    ask("the same id with another routing", 201, "PUT", "/w/_doc/6?routing=east", {"n": 66})
    ask("index, id with a slash and a space", 201, "PUT", "/w/_doc/a%2Fb%20c", {"n": 7})
    ask("index, id beyond ASCII", 201, "PUT", "/w/_doc/caf%C3%A9", {"n": 8})
    ask("index through an alias", 201, "PUT", "/alias/_doc/via-alias", {"n": 9})
    ask("index with a pipeline", 201, "PUT", "/w/_doc/piped?pipeline=stamp", {"n": 10})
    ask("index makes its index", 201, "PUT", "/made/_doc/1", {"n": 1})
    ask("index, wait_for", 201, "PUT", "/made/_doc/waits?refresh=wait_for&timeout=5s", {"n": 3})
    ask("index without id makes its index", 201, "POST", "/templated-1/_doc", {"n": 1})
    ask("index, date math index", 201, "PUT", "/%3Cdaily-%7Bnow%2Fd%7D%3E/_doc/1", {"n": 1})
    ask("index, filter_path", 201, "PUT", "/w/_doc/filtered?filter_path=result,_id", {"n": 1})
    ask("index, pretty", 201, "PUT", "/w/_doc/pretty?pretty", {"n": 1})
    ask("index, answered as YAML", 201, "PUT", "/w/_doc/yaml?format=yaml", {"n": 1})
    ask("index with another type name", {"elasticsearch": 201, "opensearch": 400}, "PUT", "/typed/event/1", {"n": 1})
    ask("index with another type name, without id", {"elasticsearch": 201, "opensearch": 400}, "POST", "/typed/event", {"n": 1})
    if elastic:
        ask("index with a type name, op _create", 201, "PUT", "/typed/event/2/_create", {"n": 2})
        ask("update with a type name", 200, "POST", "/typed/event/2/_update", {"doc": {"n": 3}})
    ask("index, compressed", 201, "PUT", "/w/_doc/gzip", gzip.compress(b'{"n":1}', mtime=0), JSON + (("content-encoding", "gzip"),))


def conditions(ask):
    at = ask("index, for conditions", 201, "PUT", "/w/_doc/c", {"n": 1})
    right = f"if_seq_no={at['_seq_no']}&if_primary_term={at['_primary_term']}"
    ask("if_seq_no right", 200, "PUT", f"/w/_doc/c?{right}", {"n": 2})
    ask("if_seq_no wrong", 409, "PUT", f"/w/_doc/c?{right}", {"n": 3})
    ask("if_seq_no of a missing document", 409, "PUT", f"/w/_doc/missing?{right}", {"n": 3})
    ask("update, if_seq_no wrong", 409, "POST", f"/w/_update/c?{right}", {"doc": {"n": 4}})
    ask("delete, if_seq_no wrong", 409, "DELETE", f"/w/_doc/c?{right}")
    ask("external version", 201, "PUT", "/w/_doc/e?version=10&version_type=external", {"n": 1})
    ask("external version, refused", 409, "PUT", "/w/_doc/e?version=10&version_type=external", {"n": 2})
    ask("external_gte version", 200, "PUT", "/w/_doc/e?version=10&version_type=external_gte", {"n": 3})
    ask("delete, external version", 200, "DELETE", "/w/_doc/e?version=11&version_type=external")
    ask("internal version, refused", 400, "PUT", "/w/_doc/c?version=2", {"n": 3})


def updates(ask):
    ask("update", 200, "POST", "/w/_update/1", {"doc": {"tag": "a"}})
    ask("update, noop", 200, "POST", "/w/_update/1", {"doc": {"tag": "a"}})
    ask("update, detect_noop off", 200, "POST", "/w/_update/1", {"doc": {"tag": "a"}, "detect_noop": False})
    ask("update with its source", 200, "POST", "/w/_update/1?_source=true", {"doc": {"tag": "b"}})
    ask("update of a missing document", 404, "POST", "/w/_update/absent", {"doc": {"n": 1}})
    # Refused, and it makes the index all the same.
    ask("update in a missing index", 404, "POST", "/no-index/_update/1", {"doc": {"n": 1}})
    ask("update by script", 200, "POST", "/w/_update/1", {"script": ADD})
    ask("update by script, list", 200, "POST", "/w/_update/1", {"script": {
        "source": "if (ctx._source.list == null) { ctx._source.list = [] } ctx._source.list.add(params.item)", "params": {"item": 1}}})
    ask("update by stored script", 200, "POST", "/w/_update/1", {"script": {"id": "add", "params": {"by": 1}}})
    ask("update by script, none", 200, "POST", "/w/_update/1", {"script": {"source": "ctx.op = 'none'"}})
    ask("update by script, fails", 400, "POST", "/w/_update/1", {"script": {"source": "ctx._source.missing.call()"}})
    ask("upsert, created", 201, "POST", "/w/_update/u1?refresh=true", {"doc": {"n": 2}, "upsert": {"n": 1}})
    ask("upsert, updated", 200, "POST", "/w/_update/u1?retry_on_conflict=3", {"doc": {"n": 2}, "upsert": {"n": 1}})
    ask("doc_as_upsert", 201, "POST", "/w/_update/u2", {"doc": {"n": 2}, "doc_as_upsert": True})
    ask("scripted upsert", 201, "POST", "/w/_update/u3", {"scripted_upsert": True, "script": {"source": "ctx._source.n = 5"}, "upsert": {}})
    ask("update with routing", 200, "POST", "/w/_update/6?routing=r1", {"doc": {"n": 60}})
    ask("update by script, delete", 200, "POST", "/w/_update/u2", {"script": {"source": "ctx.op = 'delete'"}})


def deletes(ask):
    ask("delete", 200, "DELETE", "/w/_doc/2")
    ask("delete of a missing document", 404, "DELETE", "/w/_doc/2")
    ask("delete in a missing index", 404, "DELETE", "/no-index/_doc/1")
    ask("delete with routing", 200, "DELETE", "/w/_doc/6?routing=east")


def reads(ask):
    ask("get", 200, "GET", "/w/_doc/1")
    ask("get of a missing document", 404, "GET", "/w/_doc/absent")
    ask("get in a missing index", 404, "GET", "/no-index/_doc/1")
    ask("get without realtime", 404, "GET", "/w/_doc/u3?realtime=false")
    ask("get without source", 200, "GET", "/w/_doc/1?_source=false")
    ask("get source", 200, "GET", "/w/_source/1")
    ask("head", 200, "HEAD", "/w/_doc/1")
    ask("head of a missing document", 404, "HEAD", "/w/_doc/absent")
    ask("get of a stored version, wrong", 409, "GET", "/w/_doc/1?version=1")
    ask("mget", 200, "POST", "/_mget", {"docs": [{"_index": "w", "_id": "1"}, {"_index": "w", "_id": "absent"}, {"_index": "no-index", "_id": "1"},
                                               {"_index": "w", "_id": "6", "routing": "r1"}]})
    ask("mget by ids", 200, "GET", "/w/_mget", {"ids": ["1", "3"]})


def bulks(ask, elastic):
    ask("bulk", 200, "POST", "/_bulk", lines(
        {"index": {"_index": "w", "_id": "b1"}}, {"n": 1},
        {"create": {"_index": "w", "_id": "b2"}}, {"n": 2},
        {"index": {"_index": "w"}}, {"n": 3},
        {"update": {"_index": "w", "_id": "b1"}}, {"doc": {"n": 11}},
        {"update": {"_index": "w", "_id": "b1"}}, {"script": ADD},
        {"delete": {"_index": "w", "_id": "b2"}}))
    ask("bulk with errors", 200, "POST", "/w/_bulk?refresh=true", lines(
        {"create": {"_id": "b1"}}, {"n": 1},
        {"index": {}}, {"n": "not a number"},
        {"update": {"_id": "absent"}}, {"doc": {"n": 1}},
        {"delete": {"_id": "absent"}},
        {"create": {}}, {"n": 4},
        {"index": {"_id": "b3", "if_seq_no": 100000, "if_primary_term": 1}}, {"n": 5},
        {"index": {"_id": "b3", "version": 5, "version_type": "external"}}, {"n": 5},
        {"update": {"_id": "b4", "retry_on_conflict": 2}}, {"doc": {"n": 1}, "doc_as_upsert": True},
        {"update": {"_id": "b1"}}, {"script": {"source": "ctx.op = 'none'"}},
        {"update": {"_id": "b1"}}, {"script": {"source": "ctx._source.missing.call()"}},
        {"index": {"_id": "b5", "routing": "r1", "pipeline": "stamp"}}, {"n": 6},
        {"index": {"_id": "b6", "pipeline": "no-pipeline"}}, {"n": 6},
        {"index": {"_index": "Upper", "_id": "b7"}}, {"n": 7},
        {"delete": {"_index": "no-index", "_id": "b7"}}))
    ask("bulk, every item refused", 200, "POST", "/w/_bulk", lines({"create": {"_id": "b1"}}, {"n": 1}, {"create": {"_id": "b3"}}, {"n": 1}))
    ask("bulk, PUT, through an alias", 200, "PUT", "/alias/_bulk?routing=r1", lines({"index": {"_id": "b8"}}, {"n": 8}))
    ask("bulk, filter_path without ids", 200, "POST", "/w/_bulk?filter_path=errors,took", lines({"index": {}}, {"n": 1}))
    ask("bulk, filter_path with statuses", 200, "POST", "/w/_bulk?filter_path=items.*.status,items.*.error", lines({"index": {}}, {"n": 1}, {"create": {"_id": "b1"}}, {"n": 1}))
    ask("bulk with _source of updates", 200, "POST", "/w/_bulk?_source=true", lines({"update": {"_id": "b1"}}, {"doc": {"n": 20}}))
    ask("bulk, compressed", 200, "POST", "/w/_bulk", gzip.compress(lines({"index": {"_id": "b9"}}, {"n": 9}).encode(), mtime=0), NDJSON + (("content-encoding", "gzip"),))
    ask("bulk, carriage returns", 200, "POST", "/w/_bulk", '{"index":{"_id":"b10"}}\r\n{"n":10}\r\n')
    ask("bulk, without the last line feed", 400, "POST", "/w/_bulk", '{"index":{"_id":"b11"}}\n{"n":11}')
    # Elasticsearch passes the unknown item by: one answer for two items.
    ask("bulk, unknown action", {"elasticsearch": 200, "opensearch": 400}, "POST", "/w/_bulk", lines({"index": {"_id": "b12"}}, {"n": 1}, {"upsert": {"_id": "b13"}}, {"n": 1}))
    ask("bulk, action line is no JSON", 400, "POST", "/w/_bulk", 'nonsense\n{"n":1}\n')
    ask("bulk, a source is no JSON", 200, "POST", "/w/_bulk", '{"index":{"_id":"b14"}}\n{"n":\n{"index":{"_id":"b15"}}\n{"n":1}\n')
    ask("bulk, empty", 400, "POST", "/_bulk")
    ask("bulk with types", {"elasticsearch": 200, "opensearch": 400}, "POST", "/_bulk", lines({"index": {"_index": "w", "_type": "_doc", "_id": "b16"}}, {"n": 1}))
    if elastic:
        ask("bulk with a type in the path", 200, "POST", "/typed/event/_bulk", lines({"index": {"_id": "5"}}, {"n": 1}))


def refused(ask):
    ask("index, no number", 400, "PUT", "/w/_doc/bad", {"n": "no number"})
    ask("index, no JSON", 400, "PUT", "/w/_doc/bad", '{"n":')
    ask("index, empty", 400, "PUT", "/w/_doc/bad")
    ask("index, no content type", 406, "PUT", "/w/_doc/bad", '{"n":1}', NO_TYPE)
    ask("index, unknown pipeline", 400, "PUT", "/w/_doc/bad?pipeline=none", {"n": 1})
    ask("index, id too long", 400, "PUT", "/w/_doc/" + "x" * 513, {"n": 1})
    ask("index, unknown parameter", 400, "PUT", "/w/_doc/bad?no_such_parameter=1", {"n": 1})
    ask("index through an alias of several indices", 200, "POST", "/_aliases", {"actions": [{"add": {"index": "w", "alias": "both"}}, {"add": {"index": "made", "alias": "both"}}]})
    ask("index through an alias without a write index", 400, "PUT", "/both/_doc/1", {"n": 1})
    ask("require_alias", 404, "PUT", "/w/_doc/1?require_alias=true", {"n": 1})
    ask("wrong method", 405, "DELETE", "/w/_doc")
    ask("block writes", 200, "PUT", "/made/_settings", {"index.blocks.write": True})
    ask("index, blocked", 403, "PUT", "/made/_doc/2", {"n": 1})
    ask("bulk, blocked in one index", 200, "POST", "/_bulk", lines({"index": {"_index": "made", "_id": "3"}}, {"n": 1}, {"index": {"_index": "w", "_id": "b17"}}, {"n": 1}))
    ask("unblock writes", 200, "PUT", "/made/_settings", {"index.blocks.write": None})
    ask("close index", 200, "POST", "/made/_close")
    ask("index, closed", 400, "PUT", "/made/_doc/2", {"n": 1})
    ask("open index", 200, "POST", "/made/_open")
    ask("trip the circuit breaker", 200, "PUT", "/_cluster/settings", {"transient": {"network.breaker.inflight_requests.limit": "40b"}})
    ask("index, too many requests", 429, "PUT", "/w/_doc/busy", {"n": 1, "tag": "longer than the limit of forty bytes"})
    ask("bulk, too many requests", 429, "POST", "/w/_bulk", lines({"index": {"_id": "busy"}}, {"n": 1}, {"index": {"_id": "busy2"}}, {"n": 1}))
    ask("mend the circuit breaker", 200, "PUT", "/_cluster/settings", '{"transient":{"network.*":null}}')


def by_query(ask):
    add = {"script": ADD, "query": {"range": {"n": {"gte": 0}}}}
    ask("refresh", 200, "POST", "/w/_refresh")
    ask("update_by_query", 200, "POST", "/w/_update_by_query?refresh=true", add)
    ask("update_by_query without a body", 200, "POST", "/w/_update_by_query?refresh=true")
    ask("write that the next query does not see", 200, "PUT", "/w/_doc/1", {"n": 500})
    ask("update_by_query, conflict", 409, "POST", "/w/_update_by_query", add)
    ask("refresh", 200, "POST", "/w/_refresh")
    ask("write that the next query does not see", 200, "PUT", "/w/_doc/1", {"n": 500})
    ask("update_by_query, conflicts proceed", 200, "POST", "/w/_update_by_query?conflicts=proceed&refresh=true", add)
    ask("delete_by_query", 200, "POST", "/w/_delete_by_query?refresh=true", {"query": {"ids": {"values": ["b10", "b15", "absent"]}}})
    ask("delete_by_query, nothing", 200, "POST", "/w/_delete_by_query", {"query": {"term": {"tag": "no such tag"}}})
    ask("delete_by_query without a query", 400, "POST", "/w/_delete_by_query", {})
    ask("reindex", 200, "POST", "/_reindex?refresh=true", {"source": {"index": "w"}, "dest": {"index": "copy"}})
    ask("reindex, op_type create, conflicts", 409, "POST", "/_reindex", {"source": {"index": "w"}, "dest": {"index": "copy", "op_type": "create"}})
    task = ask("update_by_query as a task", 200, "POST", "/w/_update_by_query?wait_for_completion=false&requests_per_second=-1", add)["task"]
    ask("task", 200, "GET", f"/_tasks/{task}?wait_for_completion=true&timeout=20s")
    ask("task again", 200, "GET", f"/_tasks/{task}")
    ask("rethrottle of a task that is done", 200, "POST", f"/_update_by_query/{task}/_rethrottle?requests_per_second=-1")
    ask("cancel a task that is done", 200, "POST", f"/_tasks/{task}/_cancel")
    ask("task of an unknown node", 404, "GET", "/_tasks/AAAAAAAAAAAAAAAAAAAAAA:1")


def searches(ask):
    ask("search", 200, "GET", "/w/_search", {"query": {"match_all": {}}, "size": 2, "sort": ["n"]})
    ask("search, seq_no_primary_term", 200, "POST", "/w/_search?seq_no_primary_term=true&version=true", {"size": 1})
    ask("search by URL", 200, "GET", "/w/_search?q=n:1&size=1")
    ask("search in a missing index", 404, "POST", "/absent-index/_search", {})
    ask("search, no query", 400, "POST", "/w/_search", {"query": {"no_such_query": {}}})
    ask("count", 200, "GET", "/w/_count")
    ask("msearch", 200, "POST", "/_msearch", lines({"index": "w"}, {"size": 0}, {"index": "no-index"}, {"size": 0}))
    ask("search template", 200, "POST", "/w/_search/template", {"source": {"size": "{{size}}"}, "params": {"size": 1}})


def contexts(ask, elastic):
    page = ask("scroll begins", 200, "POST", "/w/_search?scroll=1m", {"size": 2, "sort": ["_doc"]})
    page = ask("scroll goes on", 200, "POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    page = ask("scroll goes on, by URL parameter", 200, "GET", f"/_search/scroll?scroll=1m&scroll_id={page['_scroll_id']}")
    page = ask("scroll goes on, in the path", 200, "GET", f"/_search/scroll/{page['_scroll_id']}?scroll=1m")
    ask("scroll is cleared", 200, "DELETE", "/_search/scroll", {"scroll_id": [page["_scroll_id"]]})
    ask("scroll is cleared twice", 404, "DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
    ask("scroll goes on after it was cleared", 404, "POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    ask("scroll by an id that is none", 400, "POST", "/_search/scroll", {"scroll": "1m", "scroll_id": "bm9uc2Vuc2U="})
    page = ask("scroll begins", 200, "POST", "/w/_search?scroll=1m", {"size": 1000})
    ask("scroll ends", 200, "POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    ask("every scroll is cleared", 200, "DELETE", "/_search/scroll/_all")
    if elastic:
        # Both belong to the part of the distribution that is not published as libraries.
        ask("PIT is not there", 400, "POST", "/w/_pit?keep_alive=1m")
        ask("async search is not there", 400, "POST", "/w/_async_search", {})
        return
    ask("async search is not there", 400, "POST", "/w/_async_search", {})
    pit = ask("PIT begins", 200, "POST", "/w/_search/point_in_time?keep_alive=1m")["pit_id"]
    query = {"size": 2, "sort": [{"_doc": "asc"}], "pit": {"id": pit, "keep_alive": "1m"}}
    page = ask("search in a PIT", 200, "POST", "/_search", query)
    query["search_after"] = page["hits"]["hits"][-1]["sort"]
    ask("search in a PIT, next page", 200, "POST", "/_search", query)
    ask("every PIT is listed", 200, "GET", "/_search/point_in_time/_all")
    ask("PIT ends", 200, "DELETE", "/_search/point_in_time", {"pit_id": [pit]})
    ask("PIT ends twice", 200, "DELETE", "/_search/point_in_time", {"pit_id": [pit]})
    ask("search in a PIT that ended", 404, "POST", "/_search", query)
    ask("every PIT ends", 200, "DELETE", "/_search/point_in_time/_all")


def removal(ask):
    ask("flush", 200, "POST", "/w/_flush")
    ask("forcemerge", 200, "POST", "/w/_forcemerge?max_num_segments=1")
    ask("cluster health", 200, "GET", "/_cluster/health")
    ask("cat indices", 200, "GET", "/_cat/indices?h=index&s=index")
    ask("delete alias", 200, "DELETE", "/w/_alias/other-alias")
    ask("delete index", 200, "DELETE", "/copy")
    ask("delete a missing index", 404, "DELETE", "/copy")
    ask("document after its index was made again", 201, "PUT", "/copy/_doc/1", {"n": 1})
    ask("delete indices by pattern", 200, "DELETE", "/templated-*")


def main(engine, path):
    with Node(engine) as node, open(path, "w", encoding="utf-8") as file:
        session = Session(node, engine, file)
        everything(session.ask, engine == "elasticsearch")
    for line in session.wrong:
        print(line, file=sys.stderr)
    print(f"{session.count} requests, {len(session.wrong)} with another status than written", file=sys.stderr)
    return 1 if session.wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

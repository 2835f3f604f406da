//! A search cluster as far as its documents go: index, create, update, delete, `_bulk`, `_mget`, by-query
//! operations, with sequences. One stands for the primary, another for the shadow.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

/// Documents by index and id.
pub(crate) type Documents = BTreeMap<(String, String), Value>;

#[derive(Debug)]
pub(crate) struct Store {
    /// Every document that ever was; deleted ones keep their sequence.
    documents: BTreeMap<(String, String), Kept>,
    /// Writes that each index has seen.
    writes: BTreeMap<String, u64>,
    generated: u64,
    /// What ids that it generates begin with.
    name: &'static str,
}

#[derive(Debug)]
struct Kept {
    /// `None`: deleted.
    source: Option<Map<String, Value>>,
    number: u64,
    version: u64,
}

/// One write of a document, as a request asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    action: String,
    index: String,
    id: Option<String>,
    if_seq_no: Option<u64>,
    source: Value,
}

/// A request that is taken in and done item by item.
#[derive(Debug)]
pub(crate) struct Work {
    is_bulk: bool,
    todo: VecDeque<Item>,
    answered: Vec<Value>,
    /// The answer of what has no items.
    whole: Option<(u16, Value)>,
}

impl Store {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            documents: BTreeMap::new(),
            writes: BTreeMap::new(),
            generated: 0,
            name,
        }
    }

    pub(crate) fn documents(&self) -> Documents {
        let there = self.documents.iter().filter_map(|(name, kept)| {
            let source = kept.source.clone()?;
            Some((name.clone(), Value::Object(source)))
        });
        there.collect()
    }

    /// The sequence of a document that is there.
    pub(crate) fn sequence(&self, index: &str, id: &str) -> Option<u64> {
        let kept = self.documents.get(&(index.to_owned(), id.to_owned()))?;
        kept.source.is_some().then_some(kept.number)
    }

    /// Does all of a request at once.
    pub(crate) fn serve(&mut self, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
        let mut work = self.begin(method, target, body);
        while self.step(&mut work) {}
        work.answer()
    }

    /// Takes in a request. What names documents is done by [`Self::step`], all else at once.
    pub(crate) fn begin(&mut self, method: &str, target: &str, body: &[u8]) -> Work {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let source = || serde_json::from_slice(body).unwrap_or(Value::Null);
        let one = |action: &str, index: &str, id: Option<&str>| Work {
            is_bulk: false,
            todo: VecDeque::from([Item {
                action: action.to_owned(),
                index: index.to_owned(),
                id: id.map(str::to_owned),
                if_seq_no: parameter("if_seq_no").map(|number| number.parse().unwrap()),
                source: source(),
            }]),
            answered: Vec::new(),
            whole: None,
        };
        let is_create = parameter("op_type") == Some("create");
        let writing = if is_create { "create" } else { "index" };
        match (method, segments.as_slice()) {
            ("GET" | "HEAD", [index, "_doc", id]) => one("get", index, Some(id)),
            ("DELETE", [index, "_doc", id]) => one("delete", index, Some(id)),
            ("PUT" | "POST", [index, "_doc", id]) => one(writing, index, Some(id)),
            ("POST", [index, "_doc"]) => one(writing, index, None),
            ("PUT" | "POST", [index, "_create", id]) => one("create", index, Some(id)),
            ("POST", [index, "_update", id]) => one("update", index, Some(id)),
            (_, ["_bulk"]) => bulk(None, body),
            (_, [index, "_bulk"]) => bulk(Some(index), body),
            (_, ["_mget"]) => Work::whole(200, self.mget(&source())),
            (_, ["_tasks"]) => Work::whole(200, json!({"nodes": {}})),
            (_, [index, "_stats"]) => Work::whole(200, self.stats(index)),
            (_, [index, "_delete_by_query" | "_update_by_query"]) => {
                let deletes = segments.contains(&"_delete_by_query");
                Work::whole(200, self.by_query(index, &source(), deletes))
            }
            (_, [index, "_search"]) => Work::whole(200, self.search(index)),
            (_, [_, "_refresh"]) => Work::whole(200, json!({"_shards": {"failed": 0}})),
            _ => Work::whole(200, json!({})),
        }
    }

    /// Does the next item. `false`: there is none.
    pub(crate) fn step(&mut self, work: &mut Work) -> bool {
        let Some(item) = work.todo.pop_front() else {
            return false;
        };
        let mut answered = self.write(&item);
        if work.is_bulk {
            answered = json!({ item.action: answered });
        }
        work.answered.push(answered);
        true
    }

    fn write(&mut self, item: &Item) -> Value {
        let id = item.id.clone().unwrap_or_else(|| {
            self.generated += 1;
            format!("{}-{}", self.name, self.generated)
        });
        let name = (item.index.clone(), id.clone());
        let kept = self.documents.get(&name);
        let there = kept.and_then(|kept| Some((kept.source.clone()?, kept.number)));
        let base = json!({"_index": item.index, "_id": id});
        let with = |more: Value| merged(base.clone(), &more);
        let conflict = || {
            let error = json!({"type": "version_conflict_engine_exception", "reason": "x"});
            with(json!({"status": 409, "error": error}))
        };
        if item.action == "get" {
            return match kept.filter(|kept| kept.source.is_some()) {
                None => with(json!({"status": 404, "found": false})),
                Some(kept) => with(json!({
                    "status": 200, "found": true, "_seq_no": kept.number, "_primary_term": 1,
                    "_version": kept.version, "_source": kept.source,
                })),
            };
        }
        let number = there.as_ref().map(|(_, number)| *number);
        if item.if_seq_no.is_some() && item.if_seq_no != number {
            return conflict();
        }
        let source = match (item.action.as_str(), &there) {
            ("create", Some(_)) => return conflict(),
            ("delete", None) => return with(json!({"status": 404, "result": "not_found"})),
            ("delete", Some(_)) => None,
            ("index" | "create", _) => Some(object(&item.source)),
            ("update", there) => {
                let before = there.as_ref().map(|(source, _)| source);
                let Some(after) = updated(before, &item.source) else {
                    let error = json!({"type": "document_missing_exception", "reason": "x"});
                    return with(json!({"status": 404, "error": error}));
                };
                if before == Some(&after) {
                    return with(json!({
                        "status": 200, "result": "noop", "_seq_no": number, "_primary_term": 1,
                        "_version": kept.map_or(1, |kept| kept.version),
                    }));
                }
                Some(after)
            }
            other => panic!("no such action: {other:?}"),
        };
        let result = match (&source, &there) {
            (None, _) => "deleted",
            (Some(_), None) => "created",
            (Some(_), Some(_)) => "updated",
        };
        let (number, version) = self.put(name, source);
        with(json!({
            "status": if result == "created" { 201 } else { 200 },
            "result": result, "_seq_no": number, "_primary_term": 1, "_version": version,
        }))
    }

    fn put(&mut self, name: (String, String), source: Option<Map<String, Value>>) -> (u64, u64) {
        let writes = self.writes.entry(name.0.clone()).or_default();
        let number = *writes;
        *writes += 1;
        let before = self.documents.get(&name);
        let version = before.map_or(0, |kept| kept.version) + 1;
        let kept = Kept {
            source,
            number,
            version,
        };
        self.documents.insert(name, kept);
        (number, version)
    }

    fn mget(&mut self, asked: &Value) -> Value {
        let docs = asked["docs"].as_array().cloned().unwrap_or_default();
        let docs: Vec<Value> = docs
            .iter()
            .map(|doc| {
                self.write(&Item {
                    action: "get".to_owned(),
                    index: text(&doc["_index"]),
                    id: Some(text(&doc["_id"])),
                    if_seq_no: None,
                    source: Value::Null,
                })
            })
            .collect();
        json!({ "docs": docs })
    }

    fn stats(&self, index: &str) -> Value {
        let last = |writes: &u64| i64::try_from(*writes).unwrap() - 1;
        let Some(last) = self.writes.get(index).map(last) else {
            return json!({});
        };
        json!({"indices": {index: {"shards": {"0": [{"seq_no": {"max_seq_no": last}}]}}}})
    }

    /// Those whose field `v` is below `below`: deletes them, or counts their field `n` up.
    fn by_query(&mut self, index: &str, asked: &Value, deletes: bool) -> Value {
        let below = asked["query"]["range"]["v"]["lt"].as_u64().unwrap();
        let is_meant = |kept: &Kept| {
            let source = kept.source.as_ref();
            source.is_some_and(|source| source.get("v").and_then(Value::as_u64) < Some(below))
        };
        let found = self
            .documents
            .iter()
            .filter(|(name, kept)| name.0 == index && is_meant(kept));
        let found: Vec<_> = found
            .map(|(name, kept)| (name.clone(), kept.source.clone()))
            .collect();
        let total = found.len();
        for (name, source) in found {
            let script = json!({"script": {"source": "ctx._source.n += 1"}});
            let after = (!deletes).then(|| updated(source.as_ref(), &script).unwrap());
            self.put(name, after);
        }
        json!({"took": 1, "timed_out": false, "total": total, "version_conflicts": 0, "failures": []})
    }

    fn search(&self, index: &str) -> Value {
        let documents = self.documents();
        let total = documents.keys().filter(|name| name.0 == index).count();
        json!({"took": 1, "hits": {"total": {"value": total, "relation": "eq"}, "hits": []}})
    }
}

impl Work {
    fn whole(status: u16, answer: Value) -> Self {
        Self {
            is_bulk: false,
            todo: VecDeque::new(),
            answered: Vec::new(),
            whole: Some((status, answer)),
        }
    }

    pub(crate) fn answer(mut self) -> (u16, Value) {
        if let Some(whole) = self.whole {
            return whole;
        }
        if self.is_bulk {
            let failed = |item: &Value| item.to_string().contains("\"error\"");
            let errors = self.answered.iter().any(failed);
            return (
                200,
                json!({"took": 1, "errors": errors, "items": self.answered}),
            );
        }
        let answer = self.answered.pop().unwrap();
        let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
        (status, answer)
    }

    /// Items that are not done.
    pub(crate) fn left(&self) -> usize {
        self.todo.len()
    }

    /// Takes out an item that is not done, and answers "too busy" in its place when it is its turn.
    pub(crate) fn refuse_next(&mut self) {
        let Some(item) = self.todo.pop_front() else {
            return;
        };
        let error = json!({"type": "es_rejected_execution_exception", "reason": "x"});
        let answer = json!({"_index": item.index, "_id": item.id, "status": 429, "error": error});
        self.answered.push(json!({ item.action: answer }));
    }
}

fn bulk(index: Option<&str>, body: &[u8]) -> Work {
    let mut lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let mut todo = VecDeque::new();
    while let Some(line) = lines.next() {
        let (action, meta) = line.as_object().unwrap().iter().next().unwrap();
        let named = |key: &str| meta[key].as_str().map(str::to_owned);
        todo.push_back(Item {
            action: action.clone(),
            index: named("_index")
                .or_else(|| index.map(str::to_owned))
                .unwrap(),
            id: named("_id"),
            if_seq_no: meta["if_seq_no"].as_u64(),
            source: match action.as_str() {
                "delete" => Value::Null,
                _ => lines.next().unwrap(),
            },
        });
    }
    Work {
        is_bulk: true,
        todo,
        answered: Vec::new(),
        whole: None,
    }
}

/// What an update makes of a document. The only script counts field `n` up. `None`: there is none to update.
fn updated(before: Option<&Map<String, Value>>, asked: &Value) -> Option<Map<String, Value>> {
    let Some(before) = before else {
        return match (asked.get("upsert"), asked["doc_as_upsert"].as_bool()) {
            (Some(upsert), _) => Some(object(upsert)),
            (None, Some(true)) => Some(object(&asked["doc"])),
            _ => None,
        };
    };
    let mut after = before.clone();
    match asked.get("doc") {
        Some(doc) => after.extend(object(doc)),
        None => {
            let count = after.get("n").and_then(Value::as_u64).unwrap_or_default();
            after.insert("n".to_owned(), json!(count + 1));
        }
    }
    Some(after)
}

fn merged(mut base: Value, more: &Value) -> Value {
    base.as_object_mut().unwrap().extend(object(more));
    base
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

//! The engine as it is meant to run: what is sent of an exchange, in which order, and what is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use exchange::operation::Api;
use exchange::{Body, Exchange, Extent, Pair, Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use shadow::{Ambiguous, Config, Engine, Outcome, Outcomes, rules};

use crate::origin::{Heard, Origin, Reply, header, ok, request, status};

/// Everything that the engine told.
#[derive(Default)]
struct Told {
    done: Mutex<Vec<(u64, String)>>,
    pairs: Mutex<Vec<Pair>>,
    doubts: Mutex<Vec<Ambiguous>>,
}

impl Outcomes for Told {
    fn done(&self, position: u64, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Delivered(delivered) => delivered.status.to_string(),
            other => other.reason().unwrap().to_owned(),
        };
        self.done.lock().push((position, word));
    }

    fn ambiguous(&self, doubt: &Ambiguous) {
        self.doubts.lock().push(doubt.clone());
    }

    fn pair(&self, pair: Box<Pair>) {
        self.pairs.lock().push(*pair);
    }
}

impl Told {
    fn words(&self) -> Vec<String> {
        let mut done = self.done.lock().clone();
        done.sort();
        done.into_iter().map(|(_, word)| word).collect()
    }
}

fn config(origin: &Origin) -> Config {
    let mut config = Config::new(origin.target());
    config.connections = 8;
    config.retry.first = Duration::from_millis(1);
    config.retry.longest = Duration::from_millis(4);
    config
}

fn start(config: Config) -> (Engine, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Engine::start(config, told.clone()).unwrap(), told)
}

fn ask(method: &str, target: &str, body: impl Into<Bytes>) -> Request {
    let mut asked = request(method, target.as_bytes());
    asked
        .headers
        .0
        .push(header(b"content-type", b"application/json"));
    asked.body = whole(body);
    asked
}

fn whole(content: impl Into<Bytes>) -> Body {
    Body {
        content: content.into(),
        extent: Extent::Whole,
    }
}

fn answered(position: u64, request: Request, status: u16, answer: Value) -> Arc<Exchange> {
    let response = Response {
        status,
        body: whole(answer.to_string()),
        ..Response::default()
    };
    Arc::new(Exchange {
        position,
        request: Some(request),
        response: Some(response),
    })
}

/// What a cluster answers to a write of a document.
fn written(id: &str, number: u64) -> Value {
    json!({"_index": "i", "_id": id, "result": "created", "_seq_no": number, "_primary_term": 1, "_version": 1})
}

/// An accepted index of document `id`, the write `number` of its shard.
fn put(position: u64, id: &str, number: u64) -> Arc<Exchange> {
    let body = format!("{{\"write\":{number}}}");
    let asked = ask("PUT", &format!("/i/_doc/{id}"), body);
    answered(position, asked, 201, written(id, number))
}

fn read(position: u64, target: &str) -> Arc<Exchange> {
    answered(position, ask("GET", target, ""), 200, json!({}))
}

fn json_reply(status: u16, answer: &Value) -> Reply {
    Reply::Bytes(json_bytes(status, answer))
}

fn json_bytes(status: u16, answer: &Value) -> Vec<u8> {
    let answer = answer.to_string();
    let length = answer.len();
    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{answer}").into_bytes()
}

const HELD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// The target holds back the answers to requests whose target begins so.
async fn holding(beginning: &'static str) -> Origin {
    Origin::start(move |heard| match heard.target().starts_with(beginning) {
        true => Reply::Held(HELD.to_vec()),
        false => ok(),
    })
    .await
}

fn lines(origin: &Origin) -> Vec<String> {
    let line = |heard: &Heard| heard.line().trim_end_matches(" HTTP/1.1").to_owned();
    origin.heard().iter().map(line).collect()
}

#[tokio::test]
async fn a_document_gets_the_id_that_the_primary_chose() {
    let origin = Origin::start(|_| ok()).await;
    let (engine, told) = start(config(&origin));
    let asked = ask("POST", "/i/_doc?routing=r", "{\"a\":1}");
    engine.begun(1, &asked);
    let exchange = answered(1, asked, 201, written("chosen", 0));
    engine.offer(exchange).await.unwrap();
    let items =
        json!({"errors": false, "items": [{"index": {"_index": "i", "_id": "b1", "status": 201}}]});
    let asked = ask("POST", "/i/_bulk", "{\"index\":{}}\n{\"a\":2}\n");
    engine.offer(answered(2, asked, 200, items)).await.unwrap();
    engine.settled().await;
    let mut heard = origin.heard();
    heard.sort_by_key(|heard| heard.target());
    assert_eq!(heard[0].target(), "/i/_bulk");
    let action = heard[0].body.split(|byte| *byte == b'\n').next().unwrap();
    let action: Value = serde_json::from_slice(action).unwrap();
    assert_eq!(action, json!({"index": {"_id": "b1"}}));
    assert_eq!(
        heard[1].line(),
        "POST /i/_doc/chosen?routing=r&op_type=create HTTP/1.1"
    );
    assert_eq!(told.words(), ["200", "200"]);
}

#[tokio::test]
async fn what_the_primary_refused_or_did_not_change_is_left_out() {
    let origin = Origin::start(|_| ok()).await;
    let (engine, told) = start(config(&origin));
    let conflict = json!({"error": {"type": "version_conflict_engine_exception"}, "status": 409});
    let asked = ask("PUT", "/i/_create/1", "{}");
    engine
        .offer(answered(1, asked, 409, conflict))
        .await
        .unwrap();
    let nothing = json!({"_index": "i", "_id": "2", "result": "not_found"});
    let asked = ask("DELETE", "/i/_doc/2", "");
    engine
        .offer(answered(2, asked, 404, nothing))
        .await
        .unwrap();
    let asked = ask("PUT", "/i/_settings", "{}");
    let refused = json!({"error": {"type": "illegal_argument_exception"}, "status": 400});
    engine
        .offer(answered(3, asked, 400, refused))
        .await
        .unwrap();
    engine.settled().await;
    assert_eq!(told.words(), ["refused", "no effect", "refused"]);
    assert_eq!(lines(&origin), [""; 0]);
}

#[tokio::test]
async fn a_conditional_write_that_was_accepted_is_sent_without_its_condition() {
    let origin = Origin::start(|_| ok()).await;
    let (engine, _) = start(config(&origin));
    let asked = ask(
        "PUT",
        "/i/_doc/1?if_seq_no=7&if_primary_term=1&refresh=true",
        "{}",
    );
    engine
        .offer(answered(1, asked, 200, written("1", 8)))
        .await
        .unwrap();
    engine.settled().await;
    assert_eq!(lines(&origin), ["PUT /i/_doc/1?refresh=true"]);
}

#[tokio::test]
async fn overlapping_writes_of_one_document_go_in_the_order_of_their_sequences() {
    let origin = Origin::start(|_| ok()).await;
    let (engine, told) = start(config(&origin));
    let (x, y) = (put(1, "1", 7), put(2, "1", 8));
    engine.begun(1, x.request.as_ref().unwrap());
    engine.begun(2, y.request.as_ref().unwrap());
    engine.offer(y).await.unwrap();
    engine.offer(put(3, "other", 9)).await.unwrap();
    origin.heard_at_least(1).await;
    engine.offer(x).await.unwrap();
    engine.settled().await;
    let bodies: Vec<String> = origin
        .heard()
        .iter()
        .map(|heard| String::from_utf8(heard.body.clone()).unwrap())
        .collect();
    assert_eq!(bodies, ["{\"write\":9}", "{\"write\":7}", "{\"write\":8}"]);
    assert_eq!(told.words(), ["200", "200", "200"]);
    assert_eq!(*told.doubts.lock(), []);
}

#[tokio::test]
async fn a_search_waits_for_the_write_before_it_and_others_for_nothing() {
    let origin = holding("/i/_doc/1").await;
    let (engine, _) = start(config(&origin));
    engine.offer(put(1, "1", 0)).await.unwrap();
    engine.offer(read(2, "/i/_search")).await.unwrap();
    engine.offer(read(3, "/other/_search")).await.unwrap();
    engine.offer(put(4, "2", 1)).await.unwrap();
    let heard = origin.heard_at_least(3).await;
    assert!(heard.iter().all(|heard| heard.target() != "/i/_search"));
    origin.release();
    engine.settled().await;
    assert_eq!(lines(&origin).last().unwrap(), "GET /i/_search");
}

#[tokio::test]
async fn administration_waits_for_what_was_before_it_in_its_indices_and_holds_what_comes_behind() {
    let origin = holding("/i/_doc/1").await;
    let (engine, _) = start(config(&origin));
    engine.offer(put(1, "1", 0)).await.unwrap();
    let asked = ask("PUT", "/i/_mapping", "{}");
    let accepted = json!({"acknowledged": true});
    engine
        .offer(answered(2, asked, 200, accepted))
        .await
        .unwrap();
    engine.offer(put(3, "3", 1)).await.unwrap();
    let asked = ask("PUT", "/j/_doc/9", "{}");
    let elsewhere =
        json!({"_index": "j", "_id": "9", "result": "created", "_seq_no": 0, "_primary_term": 1});
    engine
        .offer(answered(4, asked, 201, elsewhere))
        .await
        .unwrap();
    origin.heard_at_least(2).await;
    assert_eq!(lines(&origin), ["PUT /i/_doc/1", "PUT /j/_doc/9"]);
    origin.release();
    engine.settled().await;
    assert_eq!(lines(&origin)[2..], ["PUT /i/_mapping", "PUT /i/_doc/3"]);
}

/// A `_bulk` that indexes these ids, accepted as a whole.
fn bulk(position: u64, ids: &[&str]) -> Arc<Exchange> {
    let line = |id: &&str| format!("{{\"index\":{{\"_index\":\"i\",\"_id\":\"{id}\"}}}}\n{{}}\n");
    let lines: String = ids.iter().map(line).collect();
    let item = |(number, id): (usize, &&str)| json!({"index": {"_index": "i", "_id": id, "status": 201, "result": "created", "_seq_no": number, "_primary_term": 1}});
    let items: Vec<Value> = ids.iter().enumerate().map(item).collect();
    let asked = ask("POST", "/_bulk", lines);
    answered(
        position,
        asked,
        200,
        json!({"errors": false, "items": items}),
    )
}

/// The ids that a `_bulk` names, in its order.
fn ids(body: &[u8]) -> Vec<String> {
    let lines = body.split(|byte| *byte == b'\n');
    let values = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let named = values.filter_map(|line| line["index"]["_id"].as_str().map(str::to_owned));
    named.collect()
}

/// A target that answers each item of a `_bulk` as it is told to.
fn items(body: &[u8], status: impl Fn(&str) -> u16) -> Value {
    let item = |id: String| {
        let status = status(&id);
        match status {
            200..=299 => json!({"index": {"_index": "i", "_id": id, "status": status}}),
            _ => {
                let error = json!({"type": "es_rejected_execution_exception"});
                json!({"index": {"_index": "i", "_id": id, "status": status, "error": error}})
            }
        }
    };
    let items: Vec<Value> = ids(body).into_iter().map(item).collect();
    json!({"errors": true, "items": items})
}

fn bulks(origin: &Origin) -> Vec<String> {
    let heard = origin.heard();
    let bulks = heard.iter().filter(|heard| heard.target() == "/_bulk");
    bulks.map(|heard| ids(&heard.body).join(" ")).collect()
}

#[tokio::test]
async fn of_a_bulk_only_the_failed_items_go_again_and_in_their_order() {
    let first = Mutex::new(true);
    let origin = Origin::start(move |heard| {
        let busy = std::mem::replace(&mut *first.lock(), false);
        let status = |id: &str| {
            if busy && ["b", "d"].contains(&id) {
                429
            } else {
                201
            }
        };
        json_reply(200, &items(&heard.body, status))
    })
    .await;
    let mut config = config(&origin);
    config.pairs = true;
    let (engine, told) = start(config);
    engine.offer(bulk(1, &["a", "b", "c", "d"])).await.unwrap();
    engine.settled().await;
    assert_eq!(bulks(&origin), ["a b c d", "b d"]);
    assert_eq!(told.words(), ["200"]);
    let pairs = told.pairs.lock();
    let told: Vec<_> = pairs
        .iter()
        .map(|pair| (pair.items.clone(), pair.more))
        .collect();
    assert_eq!(told, [(vec![], true), (vec![1..2, 3..4], false)]);
}

#[tokio::test]
async fn a_bulk_that_is_too_large_is_halved_until_it_is_not() {
    let origin = Origin::start(|heard| match ids(&heard.body).len() {
        0..=2 => json_reply(200, &items(&heard.body, |_| 201)),
        _ => status(413),
    })
    .await;
    let mut config = config(&origin);
    config.pairs = true;
    let (engine, told) = start(config);
    engine
        .offer(bulk(1, &["a", "b", "c", "d", "e"]))
        .await
        .unwrap();
    engine.settled().await;
    assert_eq!(bulks(&origin), ["a b c d e", "a b c", "a b", "c", "d e"]);
    assert_eq!(told.words(), ["200"]);
    let more: Vec<bool> = told.pairs.lock().iter().map(|pair| pair.more).collect();
    assert_eq!(more, [true, true, false]);
}

#[tokio::test]
async fn an_item_that_never_goes_through_is_dropped_and_a_pair_tells_which() {
    let origin = Origin::start(|heard| {
        let status = |id: &str| if id == "b" { 429 } else { 201 };
        json_reply(200, &items(&heard.body, status))
    })
    .await;
    let (engine, told) = start(config(&origin));
    engine.offer(bulk(1, &["a", "b", "c"])).await.unwrap();
    engine.offer(put(2, "c", 5)).await.unwrap();
    engine.settled().await;
    assert_eq!(told.words(), ["poison", "200"]);
    assert_eq!(bulks(&origin), ["a b c", "b", "b", "b", "b"]);
    let pairs = told.pairs.lock();
    let [pair] = pairs.as_slice() else {
        panic!("one pair: {pairs:?}")
    };
    assert_eq!(pair.dropped.as_ref().unwrap().reason, "poison");
    let items: Vec<u32> = pair.items.iter().flat_map(Clone::clone).collect();
    assert_eq!((items, pair.more), (vec![1], false));
    let sent = pair.as_sent().unwrap();
    assert_eq!(ids(&sent.body.content), ["b"]);
}

#[tokio::test]
async fn every_exchange_that_is_sent_gives_a_pair_and_one_that_is_not_gives_none() {
    let origin = Origin::start(|heard| match heard.target().as_str() {
        "/i/_doc/2" => status(404),
        _ => ok(),
    })
    .await;
    let mut config = config(&origin);
    config.pairs = true;
    config.name = "shadow-1".to_owned();
    let (engine, told) = start(config);
    let asked = ask("POST", "/i/_doc", "{}");
    engine
        .offer(answered(1, asked, 201, written("x", 0)))
        .await
        .unwrap();
    engine.offer(read(2, "/i/_doc/2")).await.unwrap();
    let refused = json!({"error": {"type": "x"}, "status": 400});
    engine
        .offer(answered(3, ask("PUT", "/i/_doc/3", "{"), 400, refused))
        .await
        .unwrap();
    engine.settled().await;
    let mut pairs = told.pairs.lock().clone();
    pairs.sort_by_key(|pair| pair.position);
    let seen: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let status = |response: &Option<Response>| response.as_ref().unwrap().status;
            (
                pair.position,
                pair.api.as_ref(),
                status(&pair.primary),
                status(&pair.shadow),
                pair.more,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(1, "index", 201, 200, false), (2, "get", 200, 404, false)]
    );
    assert!(pairs.iter().all(|pair| pair.target == "shadow-1"));
    assert_eq!(pairs[0].changes, ["id pinned"]);
    let sent = pairs[0].as_sent().unwrap();
    assert_eq!(sent.target, "/i/_doc/x?op_type=create");
}

#[tokio::test]
async fn a_scroll_is_followed_though_both_clusters_change_its_id_on_every_page() {
    let origin = Origin::start(|heard| {
        let asked: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
        match (heard.target().as_str(), asked["scroll_id"].as_str()) {
            ("/i/_search?scroll=1m", _) => json_reply(200, &json!({"_scroll_id": "s1"})),
            ("/_search/scroll", Some("s1")) => json_reply(200, &json!({"_scroll_id": "s2"})),
            ("/_search/scroll", Some("s2")) => json_reply(200, &json!({"_scroll_id": "s3"})),
            _ => status(404),
        }
    })
    .await;
    let mut config = config(&origin);
    config.notes = None;
    let (engine, told) = start(config);
    let opened = ask("POST", "/i/_search?scroll=1m", "{}");
    let page = |id: &str| {
        ask(
            "POST",
            "/_search/scroll",
            json!({"scroll": "1m", "scroll_id": id}).to_string(),
        )
    };
    let exchanges = [
        answered(1, opened, 200, json!({"_scroll_id": "p1"})),
        answered(2, page("p1"), 200, json!({"_scroll_id": "p2"})),
        answered(3, page("p2"), 200, json!({"_scroll_id": "p3"})),
        // Nobody knows where this one was opened.
        answered(4, page("p9"), 200, json!({"_scroll_id": "p9"})),
    ];
    for exchange in exchanges {
        engine.begun(exchange.position, exchange.request.as_ref().unwrap());
        engine.offer(exchange).await.unwrap();
    }
    engine.settled().await;
    assert_eq!(told.words(), ["200", "200", "200", "unmappable"]);
    assert_eq!(origin.heard().len(), 3);
}

/// A target with one document whose sequence a script moves on, and that breaks the connection at its first
/// update: before it did that or after.
async fn counting(breaks_after: bool) -> (Origin, Arc<Mutex<(u64, u32)>>) {
    let state = Arc::new(Mutex::new((5, 0)));
    let shared = state.clone();
    let origin = Origin::start(move |heard| {
        let mut state = shared.lock();
        let (number, updates) = &mut *state;
        match heard.target().as_str() {
            target if target.starts_with("/_mget") => json_reply(
                200,
                &json!({"docs": [{"_index": "i", "_id": "1", "found": true, "_seq_no": number, "_primary_term": 1}]}),
            ),
            "/i/_update/1" => {
                *updates += 1;
                let breaks = *updates == 1;
                if !breaks || breaks_after {
                    *number += 1;
                }
                match breaks {
                    true => Reply::Last(Vec::new()),
                    false => json_reply(200, &written("1", *number)),
                }
            }
            _ => ok(),
        }
    })
    .await;
    (origin, state)
}

fn count(position: u64) -> Arc<Exchange> {
    let asked = ask(
        "POST",
        "/i/_update/1",
        "{\"script\":{\"source\":\"ctx._source.n++\"}}",
    );
    answered(position, asked, 200, written("1", 77))
}

#[tokio::test]
async fn a_scripted_update_whose_answer_was_lost_is_done_once_whether_it_was_done_or_not() {
    for (breaks_after, requests) in [(true, 1), (false, 2)] {
        let (origin, state) = counting(breaks_after).await;
        let (engine, told) = start(config(&origin));
        engine.offer(count(1)).await.unwrap();
        engine.settled().await;
        assert_eq!(*state.lock(), (6, requests), "breaks after: {breaks_after}");
        assert_eq!(told.words(), ["200"]);
    }
}

#[tokio::test]
async fn a_scripted_update_that_was_in_flight_at_a_kill_is_done_once() {
    for (breaks_after, requests) in [(true, 1), (false, 2)] {
        let (origin, state) = counting(breaks_after).await;
        let folder = tempfile::tempdir().unwrap();
        let config = |retry| {
            let mut config = config(&origin);
            config.notes = Some(folder.path().join("notes"));
            config.retry.first = retry;
            config.retry.longest = retry;
            config
        };
        // It would try again in an hour.
        let (engine, told) = start(config(Duration::from_secs(3600)));
        engine.offer(count(1)).await.unwrap();
        let counters = engine.counters();
        while counters.retries.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(told.words(), [""; 0]);
        drop(engine);
        origin.nobody_is_connected().await;

        let (engine, told) = start(config(Duration::from_millis(1)));
        engine.offer(count(1)).await.unwrap();
        engine.settled().await;
        assert_eq!(*state.lock(), (6, requests), "breaks after: {breaks_after}");
        assert_eq!(told.words(), ["200"]);
    }
}

#[tokio::test]
async fn a_by_query_operation_is_sent_behind_a_refresh_and_once_though_its_answer_is_lost() {
    let writes = Mutex::new(3_i64);
    let origin = Origin::start(move |heard| {
        let mut writes = writes.lock();
        let target = heard.target();
        if target.starts_with("/i/_stats") {
            let shard = json!([{"seq_no": {"max_seq_no": *writes}}]);
            return json_reply(200, &json!({"indices": {"i": {"shards": {"0": shard}}}}));
        }
        match target.as_str() {
            "/i/_update_by_query" => {
                *writes += 2;
                Reply::Last(Vec::new())
            }
            _ => ok(),
        }
    })
    .await;
    let (engine, told) = start(config(&origin));
    let asked = ask("POST", "/i/_update_by_query", "{\"script\":\"x\"}");
    let answer = json!({"total": 2, "version_conflicts": 0, "failures": [], "timed_out": false});
    engine.offer(answered(1, asked, 200, answer)).await.unwrap();
    engine.settled().await;
    let heard: Vec<String> = origin
        .heard()
        .iter()
        .map(|heard| heard.target().split('?').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        heard,
        [
            "/i/_stats",
            "/i/_refresh",
            "/i/_update_by_query",
            "/i/_stats"
        ]
    );
    assert_eq!(told.words(), ["200"]);
    assert_eq!(engine.counters().done_before.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn after_a_kill_the_target_first_finishes_what_it_was_sent_before() {
    let asked = Mutex::new(0);
    let origin = Origin::start(move |heard| {
        if !heard.target().starts_with("/_tasks") {
            return ok();
        }
        let mut asked = asked.lock();
        *asked += 1;
        match *asked {
            1 | 2 => json_reply(200, &json!({"nodes": {"n": {"tasks": {"n:1": {}}}}})),
            _ => json_reply(200, &json!({"nodes": {}})),
        }
    })
    .await;
    let mut config = config(&origin);
    config.resumed = true;
    let (engine, told) = start(config);
    engine.offer(put(1, "1", 0)).await.unwrap();
    engine.offer(put(2, "2", 1)).await.unwrap();
    engine.settled().await;
    assert_eq!(told.words(), ["200", "200"]);
    let lines = lines(&origin);
    let is_question = |line: &String| line.starts_with("GET /_tasks");
    assert_eq!(lines.iter().take_while(|line| is_question(line)).count(), 3);
    assert_eq!(lines.iter().filter(|line| is_question(line)).count(), 3);
}

#[tokio::test]
async fn rules_leave_out_and_rename_and_what_is_asked_about_a_document_is_renamed_too() {
    let apis: Vec<&str> = Api::ALL.iter().map(|api| api.as_str()).collect();
    let rules = rules::Rules::parse(
        "[[rule]]\nname = \"no cats\"\nwhen = { path = [\"/_cat/*\"] }\nthen = \"deny\"\n\
         [[rule]]\nname = \"no counts\"\nwhen = { api = [\"count\"] }\nthen = { sample = \"0%\", by = \"id\" }\n\
         [rename]\n\"i\" = \"copy\"\n",
        &apis,
    )
    .unwrap();
    let origin = Origin::start(|_| ok()).await;
    let mut config = config(&origin);
    config.rules = Arc::new(rules::Cell::new(rules));
    let (engine, told) = start(config);
    engine.offer(read(1, "/_cat/indices")).await.unwrap();
    engine.offer(read(2, "/i/_count")).await.unwrap();
    engine.offer(count(3)).await.unwrap();
    engine.settled().await;
    assert_eq!(told.words(), ["denied", "not sampled", "200"]);
    let heard = origin.heard();
    assert_eq!(
        lines(&origin),
        ["POST /_mget?_source=false", "POST /copy/_update/1"]
    );
    let question: Value = serde_json::from_slice(&heard[0].body).unwrap();
    assert_eq!(question["docs"][0]["_index"], "copy");
}

#[tokio::test]
async fn requests_that_are_sent_as_they_are_go_one_after_the_other_and_unchanged() {
    let origin = Origin::start(|_| ok()).await;
    let mut config = config(&origin);
    config.as_is = true;
    let (engine, told) = start(config);
    let refused = json!({"error": {"type": "x"}, "status": 409});
    let asked = ask("POST", "/i/_doc?if_seq_no=1&if_primary_term=1", "{}");
    engine
        .offer(answered(1, asked, 409, refused))
        .await
        .unwrap();
    for position in 2..=20 {
        engine
            .offer(put(position, &position.to_string(), 40 - position))
            .await
            .unwrap();
    }
    engine.settled().await;
    let expected = (2..=20).map(|id| format!("PUT /i/_doc/{id}"));
    let first = "POST /i/_doc?if_seq_no=1&if_primary_term=1".to_owned();
    let expected: Vec<String> = std::iter::once(first).chain(expected).collect();
    assert_eq!(lines(&origin), expected);
    assert!(told.words().iter().all(|word| word == "200"));
}

#[tokio::test]
async fn a_full_engine_that_waits_for_one_answer_alone_goes_on_without_it_and_says_so() {
    let origin = Origin::start(|_| ok()).await;
    let mut config = config(&origin);
    config.bounds.exchanges = 4;
    let (engine, told) = start(config);
    let open = put(1, "1", 3);
    engine.begun(1, open.request.as_ref().unwrap());
    // All of these overlap it and wait for its sequence.
    for position in 2..=40 {
        engine
            .offer(put(position, "1", position + 10))
            .await
            .unwrap();
    }
    engine.offer(open).await.unwrap();
    engine.settled().await;
    assert_eq!(told.words(), vec!["200"; 40]);
    let doubts = told.doubts.lock();
    assert!(doubts.iter().any(|doubt| doubt.position == 1), "{doubts:?}");
}

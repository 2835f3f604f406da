//! What is ambiguous is read from the primary.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exchange::{Body, Exchange, Extent, Request, Response};
use parking_lot::Mutex;
use shadow::{
    Ambiguous, Config, Engine, Identity, Outcome, Outcomes, Resolve, Subject, Timeouts, Trust,
};

use crate::origin::{Heard, Origin, Reply, ok, refusing, request, status, target_at};

/// Everything that was told.
#[derive(Default)]
struct Told {
    words: Mutex<HashMap<u64, String>>,
    ambiguous: Mutex<Vec<String>>,
    resolved: Mutex<Vec<String>>,
}

impl Outcomes for Told {
    fn done(&self, position: u64, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Delivered(delivered) => delivered.status.to_string(),
            other => other.reason().unwrap().to_owned(),
        };
        assert_eq!(self.words.lock().insert(position, word), None);
    }

    fn ambiguous(&self, ambiguous: &Ambiguous) {
        self.ambiguous.lock().push(name(&ambiguous.subject));
    }

    fn resolved(&self, subject: &Subject) {
        self.resolved.lock().push(name(subject));
    }
}

fn name(subject: &Subject) -> String {
    match subject {
        Subject::Document(name) => String::from_utf8(name.id.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

/// A search engine that has these documents: sequence number and source by id.
#[derive(Clone, Default)]
struct Documents(Arc<Mutex<HashMap<String, (u64, String)>>>);

impl Documents {
    fn set(&self, id: &str, sequence: u64, source: &str) {
        let document = (sequence, source.to_owned());
        self.0.lock().insert(id.to_owned(), document);
    }

    fn answer(&self, heard: &Heard) -> Reply {
        let target = heard.target();
        let id = target.rsplit('/').next().unwrap();
        let body = match self.0.lock().get(id) {
            Some((sequence, source)) => format!(
                r#"{{"_index":"i","_id":"{id}","_seq_no":{sequence},"_primary_term":1,"found":true,"_source":{source}}}"#
            ),
            None => format!(r#"{{"_index":"i","_id":"{id}","found":false}}"#),
        };
        let length = body.len();
        let text = format!("HTTP/1.1 200 x\r\ncontent-length: {length}\r\n\r\n{body}");
        Reply::Bytes(text.into_bytes())
    }
}

fn config(shadow: &Origin, primary: &Origin) -> Config {
    let mut config = Config::new(shadow.target());
    config.connections = 8;
    config.resolve = Some(Resolve {
        primary: primary.target(),
        trust: Trust::default(),
        identity: Identity::default(),
        timeouts: Timeouts::default(),
        per_second: 100_000,
    });
    config
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

const MINUTE: u64 = 60_000_000;

/// `PUT /i/_doc/{id}`, a minute ago, answered with this sequence number; `None`: no answer came.
fn write(position: u64, id: &str, source: &str, sequence: Option<u64>) -> Arc<Exchange> {
    let mut asked = request("PUT", format!("/i/_doc/{id}").as_bytes());
    asked.body.content = source.to_owned().into();
    complete(position, asked, sequence.map(|sequence| {
        format!(r#"{{"_index":"i","_id":"{id}","result":"updated","_seq_no":{sequence},"_primary_term":1}}"#)
    }))
}

fn complete(position: u64, mut asked: Request, answer: Option<String>) -> Arc<Exchange> {
    asked.time_us = now_us() - MINUTE;
    let time_us = asked.time_us + 1000;
    let response = answer.map(|answer| Response {
        status: 200,
        time_us,
        body: Body {
            content: answer.into(),
            extent: Extent::Whole,
        },
        ..Response::default()
    });
    Arc::new(Exchange {
        position,
        request: Some(asked),
        response,
    })
}

/// What the shadow heard: method, path and body.
fn lines(shadow: &Origin) -> Vec<String> {
    let heard = shadow.heard();
    let line = |heard: &Heard| {
        let line = heard.line();
        let line = line.trim_end_matches(" HTTP/1.1");
        format!("{line} {}", String::from_utf8_lossy(&heard.body))
    };
    heard.iter().map(line).collect()
}

async fn settle(engine: &Engine) {
    engine.settled().await;
    engine.resolved().await;
    // The last one may still be in the order.
    engine.settled().await;
}

/// Ends it as a kill does: nothing is put in order before.
async fn stop(engine: Engine) {
    engine.drain(tokio::time::Instant::now()).await;
}

#[tokio::test]
async fn a_write_without_an_answer_is_followed_by_what_the_primary_has_byte_for_byte() {
    let documents = Documents::default();
    documents.set("1", 7, r#"{"b": 1.0,  "a":[1,2]}"#);
    let (primary, shadow) = two(&documents).await;
    let told = Arc::new(Told::default());
    let engine = Engine::start(config(&shadow, &primary), told.clone()).unwrap();
    engine.offer(write(10, "1", "{}", None)).await.unwrap();
    engine.offer(write(20, "gone", "{}", None)).await.unwrap();
    engine
        .offer(write(30, "certain", "{}", Some(1)))
        .await
        .unwrap();
    settle(&engine).await;
    let mut heard = lines(&shadow);
    heard.sort();
    assert_eq!(
        heard,
        [
            "DELETE /i/_doc/gone ",
            "PUT /i/_doc/1 {\"b\": 1.0,  \"a\":[1,2]}",
            "PUT /i/_doc/1 {}",
            "PUT /i/_doc/certain {}",
            "PUT /i/_doc/gone {}",
        ]
    );
    let of_one: Vec<_> = lines(&shadow)
        .into_iter()
        .filter(|line| line.starts_with("PUT /i/_doc/1 "))
        .collect();
    assert!(of_one[1].contains("1.0"), "{of_one:?}");
    assert_eq!(*told.ambiguous.lock(), ["1", "gone"]);
    let mut resolved = told.resolved.lock().clone();
    resolved.sort();
    assert_eq!(resolved, ["1", "gone"]);
    assert_eq!(told.words.lock().len(), 3);
}

async fn two(documents: &Documents) -> (Origin, Origin) {
    let documents = documents.clone();
    let primary = Origin::start(move |heard| documents.answer(heard)).await;
    (primary, Origin::start(|_| ok()).await)
}

#[tokio::test]
async fn what_the_fetched_document_shows_is_not_written_again() {
    let documents = Documents::default();
    documents.set("1", 7, "{}");
    let (primary, shadow) = two(&documents).await;
    let told = Arc::new(Told::default());
    let engine = Engine::start(config(&shadow, &primary), told.clone()).unwrap();
    engine.offer(write(10, "1", "lost", None)).await.unwrap();
    settle(&engine).await;
    for (position, sequence) in [(20, 6), (30, 7), (40, 8), (50, 9)] {
        let source = sequence.to_string();
        engine
            .offer(write(position, "1", &source, Some(sequence)))
            .await
            .unwrap();
    }
    // In a `_bulk` only the documents that are shown are left out.
    let mut bulk = request("POST", b"/i/_bulk");
    bulk.body.content =
        "{\"index\":{\"_id\":\"1\"}}\n{\"n\":5}\n{\"index\":{\"_id\":\"2\"}}\n{}\n".into();
    let answer = r#"{"took":1,"errors":false,"items":[
        {"index":{"_index":"i","_id":"1","status":200,"result":"updated","_seq_no":5,"_primary_term":1}},
        {"index":{"_index":"i","_id":"2","status":200,"result":"updated","_seq_no":6,"_primary_term":1}}]}"#;
    engine
        .offer(complete(60, bulk, Some(answer.to_owned())))
        .await
        .unwrap();
    settle(&engine).await;
    assert_eq!(
        lines(&shadow),
        [
            "PUT /i/_doc/1 lost",
            "PUT /i/_doc/1 {}",
            "PUT /i/_doc/1 8",
            "PUT /i/_doc/1 9",
            "POST /i/_bulk {\"index\":{\"_id\":\"2\"}}\n{}\n",
        ]
    );
    let words = told.words.lock();
    assert_eq!([&*words[&20], &words[&30]], ["superseded"; 2]);
    assert_eq!([&*words[&40], &words[&50], &words[&60]], ["200"; 3]);
    let superseded = &engine.counters().superseded;
    assert_eq!(superseded.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_document_is_fetched_again_after_an_operation_on_its_index_that_it_may_show() {
    let documents = Documents::default();
    documents.set("1", 7, "{}");
    documents.set("2", 7, "{}");
    let (primary, shadow) = two(&documents).await;
    let engine = Engine::start(config(&shadow, &primary), Arc::new(Told::default())).unwrap();
    engine.offer(write(10, "1", "lost", None)).await.unwrap();
    settle(&engine).await;
    documents.set("1", 9, r#"{"n":1}"#);
    let by_query = |index: &str| request("POST", format!("/{index}/_update_by_query").as_bytes());
    let answer =
        || Some(r#"{"took":1,"updated":1,"version_conflicts":0,"failures":[]}"#.to_owned());
    // One on another index is nothing to it.
    engine
        .offer(complete(20, by_query("j"), answer()))
        .await
        .unwrap();
    settle(&engine).await;
    assert_eq!(primary.heard().len(), 1);
    engine
        .offer(complete(30, by_query("i"), answer()))
        .await
        .unwrap();
    settle(&engine).await;
    assert_eq!(primary.heard().len(), 2);
    let heard = lines(&shadow);
    assert_eq!(heard.last().unwrap(), "PUT /i/_doc/1 {\"n\":1}");
    assert!(
        heard
            .iter()
            .rev()
            .nth(1)
            .unwrap()
            .contains("_update_by_query")
    );
}

#[tokio::test]
async fn after_a_restart_what_was_fetched_is_fetched_again_until_nothing_old_can_come() {
    let dir = tempfile::tempdir().unwrap();
    let documents = Documents::default();
    documents.set("1", 7, "{}");
    let (primary, shadow) = two(&documents).await;
    let start = |told: &Arc<Told>| {
        let mut config = config(&shadow, &primary);
        config.notes = Some(dir.path().join("notes"));
        Engine::start(config, told.clone()).unwrap()
    };
    let told = Arc::new(Told::default());
    let engine = start(&told);
    engine.offer(write(10, "1", "lost", None)).await.unwrap();
    settle(&engine).await;
    stop(engine).await;
    // Nothing says that what comes now began after the fetch.
    let engine = start(&told);
    settle(&engine).await;
    assert_eq!(primary.heard().len(), 2);
    engine.offer(write(20, "1", "old", Some(6))).await.unwrap();
    settle(&engine).await;
    assert_eq!(told.words.lock()[&20], "superseded");
    let mut later = request("GET", b"/i/_doc/2");
    later.time_us = now_us() + MINUTE;
    engine.begun(30, &later);
    engine.saved(30);
    stop(engine).await;
    let engine = start(&told);
    settle(&engine).await;
    assert_eq!(primary.heard().len(), 2);
    assert_eq!(told.resolved.lock().len(), 2);
}

#[tokio::test]
async fn a_primary_that_is_away_holds_up_nothing_and_is_asked_again() {
    let documents = Documents::default();
    documents.set("1", 7, r#"{"now":1}"#);
    let shadow = Origin::start(|_| ok()).await;
    let (socket, address) = refusing();
    let mut config = Config::new(shadow.target());
    config.resolve = Some(Resolve {
        primary: target_at(address),
        trust: Trust::default(),
        identity: Identity::default(),
        timeouts: Timeouts::default(),
        per_second: 100_000,
    });
    let told = Arc::new(Told::default());
    let engine = Engine::start(config, told.clone()).unwrap();
    let counters = engine.counters();
    for position in 1..=20 {
        engine.offer(write(position, "1", "x", None)).await.unwrap();
    }
    while told.words.lock().len() < 20 || counters.resolve_failures.load(Ordering::Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(counters.resolve_pending.load(Ordering::Relaxed), 1);
    let documents = documents.clone();
    let _primary = Origin::start_on(socket.listen(16).unwrap(), move |heard| {
        documents.answer(heard)
    });
    settle(&engine).await;
    assert_eq!(lines(&shadow).last().unwrap(), "PUT /i/_doc/1 {\"now\":1}");
}

#[tokio::test]
async fn a_document_that_the_shadow_refuses_stays_ambiguous_and_stops_nobody() {
    let documents = Documents::default();
    documents.set("1", 7, r#"{"bad":1}"#);
    documents.set("2", 7, r#"{"good":1}"#);
    let asked = documents.clone();
    let primary = Origin::start(move |heard| asked.answer(heard)).await;
    let shadow = Origin::start(|heard| match heard.body.as_slice() {
        br#"{"bad":1}"# => status(400),
        _ => ok(),
    })
    .await;
    let told = Arc::new(Told::default());
    let engine = Engine::start(config(&shadow, &primary), told.clone()).unwrap();
    engine.offer(write(10, "1", "x", None)).await.unwrap();
    engine.offer(write(20, "2", "x", None)).await.unwrap();
    settle(&engine).await;
    assert_eq!(*told.resolved.lock(), ["2"]);
    let unresolved = &engine.counters().unresolved;
    assert_eq!(unresolved.load(Ordering::Relaxed), 1);
}

/// A cluster with one index: a scroll of one page, `_mget` and single documents.
fn cluster(documents: &Documents, heard: &Heard) -> Reply {
    let json = |body: String| {
        let length = body.len();
        Reply::Bytes(format!("HTTP/1.1 200 x\r\ncontent-length: {length}\r\n\r\n{body}").into())
    };
    let (target, known) = (heard.target(), documents.0.lock().clone());
    let mut ids: Vec<&String> = known.keys().collect();
    ids.sort();
    match target.split('?').next().unwrap() {
        "/i/_stats/docs" => {
            json(r#"{"indices":{"i":{"primaries":{"docs":{"count":3}}}}}"#.to_owned())
        }
        "/i/_search" => {
            let hits: Vec<String> = ids
                .iter()
                .map(|id| format!(r#"{{"_id":"{id}"}}"#))
                .collect();
            json(format!(
                r#"{{"_scroll_id":"s","hits":{{"hits":[{}]}}}}"#,
                hits.join(",")
            ))
        }
        "/_search/scroll" => json(r#"{"_scroll_id":"s","hits":{"hits":[]}}"#.to_owned()),
        "/i/_mget" => {
            let body = String::from_utf8_lossy(&heard.body).into_owned();
            let asked = body.split("\"_id\":\"").skip(1);
            let found: Vec<String> = asked
                .map(|rest| match known.get(rest.split('"').next().unwrap()) {
                    Some((_, source)) => format!(r#"{{"found":true,"_source":{source}}}"#),
                    None => r#"{"found":false}"#.to_owned(),
                })
                .collect();
            json(format!(r#"{{"docs":[{}]}}"#, found.join(",")))
        }
        _ if heard.line().starts_with("GET /i/_doc/") => documents.answer(heard),
        _ => ok(),
    }
}

#[tokio::test]
async fn a_write_whose_id_nobody_knows_is_found_by_comparing_its_index() {
    let (on_primary, on_shadow) = (Documents::default(), Documents::default());
    for (id, source) in [
        ("same", "{}"),
        ("new", r#"{"n":1}"#),
        ("other", r#"{"n":2}"#),
    ] {
        on_primary.set(id, 7, source);
    }
    for (id, source) in [("same", "{}"), ("old", "{}"), ("other", r#"{"n":1}"#)] {
        on_shadow.set(id, 7, source);
    }
    let (one, other) = (on_primary.clone(), on_shadow.clone());
    let primary = Origin::start(move |heard| cluster(&one, heard)).await;
    let shadow = Origin::start(move |heard| cluster(&other, heard)).await;
    let told = Arc::new(Told::default());
    let engine = Engine::start(config(&shadow, &primary), told.clone()).unwrap();
    let mut lost = request("POST", b"/i/_doc");
    lost.body.content = r#"{"n":1}"#.into();
    engine.offer(complete(10, lost, None)).await.unwrap();
    settle(&engine).await;
    let mut written: Vec<String> = lines(&shadow)
        .into_iter()
        .filter(|line| line.contains("/i/_doc/"))
        .collect();
    written.sort();
    assert_eq!(
        written,
        [
            "DELETE /i/_doc/old ",
            "PUT /i/_doc/new {\"n\":1}",
            "PUT /i/_doc/other {\"n\":2}",
        ]
    );
    assert_eq!(told.words.lock()[&10], "id unknown");
    let mut resolved = told.resolved.lock().clone();
    resolved.sort();
    assert_eq!(resolved, ["Index(b\"i\")", "new", "old", "other"]);
}

/// A shadow that does not answer the first attempt at each of these, and then has nothing to do.
fn found_done(answers: &'static [(&'static str, u16, &'static str)]) -> impl Fn(&Heard) -> Reply {
    let seen = Mutex::new(HashSet::new());
    move |heard| {
        let line = heard.line();
        let known = answers.iter().find(|(path, ..)| line.contains(path));
        match known {
            Some((path, ..)) if seen.lock().insert(*path) => status(503),
            Some((_, status, body)) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
                Reply::Bytes(text.into_bytes())
            }
            None => ok(),
        }
    }
}

const CONFLICT: &str = r#"{"error":{"type":"version_conflict_engine_exception"},"status":409}"#;
const NOOP: &str = r#"{"_index":"i","_id":"u","result":"noop","_seq_no":3,"_primary_term":1}"#;

#[tokio::test]
async fn what_the_shadow_found_done_by_an_attempt_that_it_did_not_answer_is_written_for_good() {
    let documents = Documents::default();
    documents.set("u", 7, r#"{"a":1,"b":2}"#);
    documents.set("chosen", 8, r#"{"c":3}"#);
    let (primary, _) = two(&documents).await;
    let shadow = Origin::start(found_done(&[
        ("/_update/u", 200, NOOP),
        ("op_type=create", 409, CONFLICT),
    ]))
    .await;
    let told = Arc::new(Told::default());
    let engine = Engine::start(config(&shadow, &primary), told.clone()).unwrap();
    for (position, target, id, sequence) in [(10, "_update/u", "u", 7), (20, "_doc", "chosen", 8)] {
        let asked = request("POST", format!("/i/{target}").as_bytes());
        let answer = format!(
            r#"{{"_index":"i","_id":"{id}","result":"updated","_seq_no":{sequence},"_primary_term":1}}"#
        );
        let exchange = complete(position, asked, Some(answer));
        engine.offer(exchange).await.unwrap();
    }
    settle(&engine).await;
    let heard = lines(&shadow);
    for written in [
        r#"PUT /i/_doc/u {"a":1,"b":2}"#,
        r#"PUT /i/_doc/chosen {"c":3}"#,
    ] {
        let times = heard.iter().filter(|line| *line == written).count();
        assert_eq!(times, 1, "{written}: {heard:?}");
    }
    assert_eq!(told.words.lock().len(), 2);
}

#[tokio::test]
async fn what_the_shadow_has_at_the_first_attempt_costs_the_primary_nothing() {
    let documents = Documents::default();
    let (primary, _) = two(&documents).await;
    let noop = NOOP.len();
    let noop = format!("HTTP/1.1 200 x\r\ncontent-length: {noop}\r\n\r\n{NOOP}");
    let shadow = Origin::start(move |_| Reply::Bytes(noop.clone().into_bytes())).await;
    let told = Arc::new(Told::default());
    let engine = Engine::start(config(&shadow, &primary), told).unwrap();
    let answer = r#"{"_index":"i","_id":"u","result":"updated","_seq_no":7,"_primary_term":1}"#;
    let exchange = complete(
        10,
        request("POST", b"/i/_update/u"),
        Some(answer.to_owned()),
    );
    engine.offer(exchange).await.unwrap();
    settle(&engine).await;
    assert_eq!(lines(&shadow).len(), 1);
    assert!(primary.heard().is_empty());
}

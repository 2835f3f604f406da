//! A thousand chains on a model of two clusters.

use std::collections::{HashMap, HashSet};

use exchange::Request;
use proptest::prelude::*;

use super::tests::{request, text, told};
use super::*;
use crate::Change;

/// A cluster that answers every page with another id.
#[derive(Debug, Default)]
struct Model {
    side: &'static str,
    ids: u64,
    /// Which chain an id belongs to, and how many pages were read when it was given out. Only the latest
    /// id of a chain is valid.
    open: HashMap<String, (usize, u32)>,
}

impl Model {
    fn give(&mut self, chain: usize, pages: u32) -> String {
        self.ids += 1;
        // An id that must be escaped in a URL, and in JSON.
        let id = format!("{}/{}\"=", self.side, self.ids * 7919 % 1_000_003);
        self.open.insert(id.clone(), (chain, pages));
        id
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    Page(u8),
    Close(u8),
}

/// What the client sends for a step, with the primary's latest id.
fn step_request(step: Step, id: &str) -> Request {
    let json = serde_json::to_string(id).unwrap();
    let url = text(&url::encoded(id.as_bytes()));
    match step {
        Step::Open => request("POST /i/_search?scroll=1m", r#"{"query":{"match_all":{}}}"#),
        Step::Page(0) => request(&format!("GET /_search/scroll/{url}?scroll=1m"), ""),
        Step::Page(1) => request(
            &format!("GET /_search/scroll?a=b&scroll_id={url}&scroll=1m"),
            "",
        ),
        Step::Page(2) => request(
            "POST /_search/scroll",
            &format!(r#"{{"a":[1,"\"]"], "scroll_id" : {json} , "b":{{}}}}"#),
        ),
        Step::Page(_) => request(
            "POST /_search/scroll",
            &format!(r#"{{"scroll_id":[{json}]}}"#),
        ),
        Step::Close(0) => request(&format!("DELETE /_search/scroll/{url}"), ""),
        Step::Close(_) => request(
            "DELETE /_search/scroll",
            &format!(r#"{{ "scroll_id":["gone",{json}, "lost"]}}"#),
        ),
    }
}

/// What a cluster of the model does with a request that carries `id`.
fn answered(model: &mut Model, step: Step, id: &str, chain: usize) -> String {
    let pages = match step {
        Step::Open => 0,
        _ => {
            let (owner, pages) = model.open.remove(id).expect("a valid id");
            assert_eq!(owner, chain, "the id of this chain");
            pages + 1
        }
    };
    match step {
        Step::Close(_) => r#"{"succeeded":true}"#.to_owned(),
        _ => {
            let id = serde_json::to_string(&model.give(chain, pages)).unwrap();
            format!(r#"{{"_scroll_id":{id},"hits":{{"hits":[]}}}}"#)
        }
    }
}

/// The id that a request carries, by the client's own way of writing it.
fn id_in(step: Step, request: &Request) -> String {
    let found = in_request(request).found;
    let place = match step {
        Step::Page(0) | Step::Close(0) => Place::Path,
        Step::Page(1) => Place::Query,
        _ => Place::Body,
    };
    assert!(found.len() == 1 && found[0].place == place, "{found:?}");
    text(found[0].token.as_ref().unwrap())
}

fn chains(count: usize) -> impl Strategy<Value = Vec<(usize, Vec<Step>)>> {
    let step = prop_oneof![4 => (0u8..4).prop_map(Step::Page), 1 => (0u8..2).prop_map(Step::Close)];
    let chain = prop::collection::vec(step, 0..8).prop_map(|mut steps| {
        let end = steps.iter().position(|step| matches!(step, Step::Close(_)));
        steps.truncate(end.map_or(usize::MAX, |end| end + 1));
        steps.insert(0, Step::Open);
        steps
    });
    prop::collection::vec(chain, count).prop_map(|chains| chains.into_iter().enumerate().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_thousand_interleaved_chains_reach_their_own_contexts_also_over_restarts(
        chains in chains(1000), order in any::<u64>(), restart in 100usize..700
    ) {
        let mut primary = Model { side: "p", ..Model::default() };
        let mut shadow = Model { side: "s", ..Model::default() };
        let mut sessions = Sessions::default();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut latest = vec![String::new(); chains.len()];
        let mut waiting: Vec<(usize, std::vec::IntoIter<Step>)> =
            chains.into_iter().map(|(chain, steps)| (chain, steps.into_iter())).collect();
        let (mut random, mut done) = (order, 0);
        while !waiting.is_empty() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (random >> 33) as usize % waiting.len();
            let chain = waiting[at].0;
            let Some(step) = waiting[at].1.next() else {
                waiting.swap_remove(at);
                continue;
            };
            let request = step_request(step, &latest[chain]);
            let asked = in_request(&request);
            let ours = answered(&mut primary, step, &latest[chain], chain);

            let mut sent = request.clone();
            let mut changes = Vec::new();
            sessions.rewrite(&mut sent, &mut changes).unwrap();
            let id = if matches!(step, Step::Open) {
                prop_assert_eq!(&sent, &request);
                String::new()
            } else {
                prop_assert_eq!(&changes, &[Change::TokenMapped]);
                let id = id_in(step, &sent);
                if !matches!(step, Step::Close(1)) {
                    // Only the token is another.
                    let mut expected = step_request(step, &id);
                    std::mem::swap(&mut expected.headers, &mut sent.headers);
                    prop_assert_eq!(&sent.target, &expected.target);
                    prop_assert_eq!(&sent.body, &expected.body);
                }
                id
            };
            let theirs = answered(&mut shadow, step, &id, chain);
            if let Some((_, rest)) = ours.split_once("\"_scroll_id\":") {
                let mut tokens = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                latest[chain] = tokens.next().unwrap().unwrap();
            }
            let ours = told(&asked, 200, &ours);
            let theirs = told(&asked, 200, &theirs);
            let events = sessions.learn(&asked, Some(&ours), Some(&theirs), 0);
            records.extend(events.iter().map(Event::encode));
            done += 1;
            if done % restart == 0 {
                if done % 2 == 0 {
                    records = sessions.snapshot().iter().map(Event::encode).collect();
                }
                let events = records.iter().map(|record| Event::decode(record).unwrap());
                sessions = Sessions::restored(Limits::default(), events);
            }
        }
        // What is closed at the end is what the shadow still has open, each once.
        let mut closed = HashSet::new();
        for request in sessions.close_requests() {
            for found in in_request(&request).found {
                prop_assert!(closed.insert(text(&found.token.unwrap())));
            }
        }
        let open: HashSet<String> = shadow.open.into_keys().collect();
        prop_assert_eq!(closed, open);
    }
}

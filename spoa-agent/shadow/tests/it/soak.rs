//! Random histories of a primary, through the whole engine, to a shadow that fails at random, with the
//! engine killed in between. Both clusters are a [`Store`]; in the end they have the same documents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::{Body, Exchange, Extent, Request, Response};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use shadow::{Ambiguous, Config, Engine, Outcome, Outcomes, Subject};

use crate::origin::{Heard, Origin, Reply, header, ok, request, status};
use crate::store::{Documents, Store, Work};

/// What a client does next, or what the primary does of what it was asked.
#[derive(Clone, Debug)]
enum Step {
    Begin(Op),
    /// The next item of one of the open requests is done.
    Run(u8),
    /// One of the open requests is done to its end, and answered.
    Answer(u8),
    /// The same, but nobody sees the answer.
    Lose(u8),
}

#[derive(Clone, Debug)]
enum Op {
    Write(Write),
    Bulk(Vec<Write>),
    Get(u8),
    Search,
    /// All open requests are answered first: what it does beside others the answers do not tell.
    DeleteByQuery(u8),
    UpdateByQuery(u8),
}

#[derive(Clone, Debug)]
enum Write {
    Index(u8, u8),
    /// Without an id.
    Append(u8),
    Create(u8, u8),
    /// With the sequence that the document has when the client asks.
    Conditional(u8, u8),
    Update(u8, u8),
    DocAsUpsert(u8, u8),
    Count(u8),
    CountOrInsert(u8),
    Delete(u8),
}

/// What the journal tells.
#[derive(Clone, Debug)]
enum Event {
    Begun(u64, Box<Request>),
    Complete(Arc<Exchange>),
}

impl Event {
    fn position(&self) -> u64 {
        match self {
            Self::Begun(position, _) => *position,
            Self::Complete(exchange) => exchange.position,
        }
    }
}

/// The engine is killed after so many events, a while later, and what was done since the cursor was last
/// saved is forgotten.
#[derive(Clone, Debug)]
struct Kill {
    after: usize,
    pause_us: u16,
    saved_every: usize,
}

/// Makes a journal of what clients ask and a primary answers.
struct Primary {
    store: Store,
    open: Vec<(u64, Request, Work)>,
    events: Vec<Event>,
    position: u64,
}

impl Primary {
    fn run(steps: &[Step]) -> (Documents, Vec<Event>) {
        let mut primary = Self {
            store: Store::new("p"),
            open: Vec::new(),
            events: Vec::new(),
            position: 0,
        };
        for step in steps {
            primary.step(step);
        }
        primary.answer_all();
        (primary.store.documents(), primary.events)
    }

    fn step(&mut self, step: &Step) {
        let at = |chosen: &u8| usize::from(*chosen) % self.open.len().max(1);
        match step {
            Step::Begin(op) => {
                let alone = matches!(op, Op::DeleteByQuery(_) | Op::UpdateByQuery(_));
                if alone {
                    self.answer_all();
                }
                self.begin(op);
                if alone {
                    self.answer_all();
                }
            }
            Step::Run(chosen) => {
                let at = at(chosen);
                if let Some((_, _, work)) = self.open.get_mut(at) {
                    self.store.step(work);
                }
            }
            Step::Answer(chosen) if !self.open.is_empty() => self.answer(at(chosen), true),
            Step::Lose(chosen) if !self.open.is_empty() => self.answer(at(chosen), false),
            Step::Answer(_) | Step::Lose(_) => {}
        }
    }

    fn begin(&mut self, op: &Op) {
        let request = self.ask(op);
        self.position += 1;
        self.events
            .push(Event::Begun(self.position, Box::new(request.clone())));
        let (method, target, body) = parts(&request);
        let work = self.store.begin(&method, &target, body);
        self.open.push((self.position, request, work));
    }

    fn answer_all(&mut self) {
        while !self.open.is_empty() {
            self.answer(0, true);
        }
    }

    fn answer(&mut self, at: usize, seen: bool) {
        let (position, request, mut work) = self.open.remove(at);
        while self.store.step(&mut work) {}
        let (status, answer) = work.answer();
        let response = Response {
            status,
            headers: [header(b"content-type", b"application/json")]
                .into_iter()
                .collect(),
            body: whole(answer.to_string()),
            ..Response::default()
        };
        self.events.push(Event::Complete(Arc::new(Exchange {
            position,
            request: Some(request),
            response: seen.then_some(response),
        })));
    }

    fn ask(&self, op: &Op) -> Request {
        let below = |v: &u8| json!({"query": {"range": {"v": {"lt": v}}}});
        match op {
            Op::Write(write) => self.ask_one(write),
            Op::Bulk(writes) => {
                let lines: String = writes.iter().map(|write| self.lines(write)).collect();
                posted("POST", "/_bulk", lines)
            }
            Op::Get(id) => request("GET", format!("/i/_doc/{id}").as_bytes()),
            Op::Search => posted("POST", "/i/_search", "{}".to_owned()),
            Op::DeleteByQuery(v) => posted("POST", "/i/_delete_by_query", below(v).to_string()),
            Op::UpdateByQuery(v) => {
                let mut body = below(v);
                body["script"] = script();
                posted("POST", "/i/_update_by_query", body.to_string())
            }
        }
    }

    fn ask_one(&self, write: &Write) -> Request {
        let (action, id, source) = meaning(write);
        let target = match (action, &id) {
            ("index", None) => "/i/_doc".to_owned(),
            ("create", Some(id)) => format!("/i/_create/{id}"),
            ("update", Some(id)) => format!("/i/_update/{id}"),
            (_, Some(id)) => format!("/i/_doc/{id}{}", self.condition(write, id)),
            (_, None) => unreachable!("only an index has no id"),
        };
        let method = match action {
            "delete" => "DELETE",
            _ => "POST",
        };
        let body = source.map(|source| source.to_string());
        posted(method, &target, body.unwrap_or_default())
    }

    fn condition(&self, write: &Write, id: &str) -> String {
        let number = self.store.sequence("i", id);
        match (write, number) {
            (Write::Conditional(..), Some(number)) => {
                format!("?if_seq_no={number}&if_primary_term=1")
            }
            _ => String::new(),
        }
    }

    fn lines(&self, write: &Write) -> String {
        let (action, id, source) = meaning(write);
        let mut meta = json!({"_index": "i"});
        if let Some(id) = &id {
            meta["_id"] = json!(id);
            if let (Write::Conditional(..), Some(number)) = (write, self.store.sequence("i", id)) {
                meta["if_seq_no"] = json!(number);
                meta["if_primary_term"] = json!(1);
            }
        }
        let action = json!({ action: meta });
        match source {
            Some(source) => format!("{action}\n{source}\n"),
            None => format!("{action}\n"),
        }
    }
}

fn meaning(write: &Write) -> (&'static str, Option<String>, Option<Value>) {
    let named = |id: &u8| Some(id.to_string());
    let fields = |v: &u8| json!({"v": v, "n": 0});
    match write {
        Write::Index(id, v) | Write::Conditional(id, v) => ("index", named(id), Some(fields(v))),
        Write::Append(v) => ("index", None, Some(fields(v))),
        Write::Create(id, v) => ("create", named(id), Some(fields(v))),
        Write::Update(id, v) => ("update", named(id), Some(json!({"doc": {"v": v}}))),
        Write::DocAsUpsert(id, v) => {
            let source = json!({"doc": {"v": v}, "doc_as_upsert": true});
            ("update", named(id), Some(source))
        }
        Write::Count(id) => ("update", named(id), Some(json!({"script": script()}))),
        Write::CountOrInsert(id) => {
            let source = json!({"script": script(), "upsert": {"n": 10}});
            ("update", named(id), Some(source))
        }
        Write::Delete(id) => ("delete", named(id), None),
    }
}

fn script() -> Value {
    json!({"source": "ctx._source.n += 1"})
}

fn posted(method: &str, target: &str, body: String) -> Request {
    let mut asked = request(method, target.as_bytes());
    asked
        .headers
        .0
        .push(header(b"content-type", b"application/json"));
    asked.body = whole(body);
    asked
}

fn whole(content: String) -> Body {
    Body {
        content: Bytes::from(content),
        extent: Extent::Whole,
    }
}

fn parts(request: &Request) -> (String, String, &[u8]) {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (
        text(&request.method),
        text(&request.target),
        &request.body.content,
    )
}

/// A shadow that fails so many of a hundred requests, in every way in which one can.
struct Faulty {
    store: Store,
    random: u64,
    share: u64,
}

impl Faulty {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64 (Marsaglia 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    fn answer(&mut self, heard: &Heard) -> Reply {
        let line = heard.line();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        if target == "/" {
            return ok();
        }
        if self.roll(100) >= self.share {
            return reply(self.store.serve(method, target, &heard.body));
        }
        match self.roll(8) {
            0 => Reply::Last(Vec::new()),
            1 | 2 => {
                self.store.serve(method, target, &heard.body);
                Reply::Last(Vec::new())
            }
            3 => {
                self.store.serve(method, target, &heard.body);
                Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{".to_vec())
            }
            4 => status(429),
            5 => status(503),
            fault => {
                let mut work = self.store.begin(method, target, &heard.body);
                if fault == 6 && work.left() > 1 {
                    return status(413);
                }
                let bulk = target.contains("_bulk");
                while work.left() > 0 {
                    if bulk && self.roll(2) == 0 {
                        work.refuse_next();
                    } else {
                        self.store.step(&mut work);
                    }
                }
                reply(work.answer())
            }
        }
    }
}

fn reply((status, answer): (u16, Value)) -> Reply {
    let answer = answer.to_string();
    let length = answer.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    Reply::Bytes((head + &answer).into_bytes())
}

/// The cursor's side: what is done.
#[derive(Default)]
struct Cursor {
    done: Mutex<BTreeSet<u64>>,
    lost: Mutex<Vec<(u64, Outcome)>>,
    doubts: Mutex<Vec<Ambiguous>>,
}

impl Outcomes for Cursor {
    fn done(&self, position: u64, outcome: &Outcome) {
        self.done.lock().insert(position);
        if matches!(outcome, Outcome::Dropped(_)) {
            self.lock_lost(position, outcome);
        }
    }

    fn ambiguous(&self, doubt: &Ambiguous) {
        self.doubts.lock().push(doubt.clone());
    }
}

impl Cursor {
    fn lock_lost(&self, position: u64, outcome: &Outcome) {
        self.lost.lock().push((position, outcome.clone()));
    }

    /// Everything before this is done.
    fn low(&self) -> u64 {
        let done = self.done.lock();
        (1..).find(|position| !done.contains(position)).unwrap()
    }
}

/// What came of a history.
struct Ran {
    primary: Documents,
    shadow: Documents,
    lost: Vec<(u64, Outcome)>,
    doubts: Vec<Ambiguous>,
}

impl Ran {
    fn refused(&self) -> Vec<&Ambiguous> {
        let refused = |doubt: &&Ambiguous| doubt.reason == "refused by the shadow";
        self.doubts.iter().filter(refused).collect()
    }

    /// Documents that differ, although nothing said that they may.
    fn differ_unlisted(&self) -> Vec<String> {
        let names = self.primary.keys().chain(self.shadow.keys());
        let differing = names.filter(|name| self.primary.get(*name) != self.shadow.get(*name));
        let listed = |id: &str| {
            self.doubts.iter().any(|doubt| match &doubt.subject {
                Subject::Document(name) => name.id == id.as_bytes(),
                Subject::Index(_) => true,
                // An id that the primary chose and nobody was told.
                Subject::Operation => id.starts_with("p-"),
            })
        };
        differing
            .map(|(_, id)| id.clone())
            .filter(|id| !listed(id))
            .collect()
    }
}

async fn follow(steps: &[Step], kills: &[Kill], share: u64, seed: u64, room: usize) -> Ran {
    let (primary, events) = Primary::run(steps);
    let shadow = Arc::new(Mutex::new(Faulty {
        store: Store::new("s"),
        random: seed | 1,
        share,
    }));
    let answering = shadow.clone();
    let origin = Origin::start(move |heard| answering.lock().answer(heard)).await;
    let folder = tempfile::tempdir().unwrap();
    let config = || {
        let mut config = Config::new(origin.target());
        config.connections = 4;
        config.retry.first = Duration::from_micros(200);
        config.retry.longest = Duration::from_millis(2);
        config.retry.max_attempts = 1000;
        config.bounds.exchanges = room;
        config.notes = Some(folder.path().join("notes"));
        config
    };
    let cursor = Arc::new(Cursor::default());
    for (nth, kill) in kills.iter().enumerate() {
        let mut config = config();
        config.resumed = nth > 0;
        let engine = Engine::start(config, cursor.clone()).unwrap();
        let mut saved = cursor.done.lock().clone();
        let todo = events
            .iter()
            .filter(|event| !saved.contains(&event.position()));
        let todo: Vec<Event> = todo.cloned().collect();
        for (at, event) in todo.into_iter().take(kill.after).enumerate() {
            feed(&engine, event).await;
            if at % kill.saved_every == 0 {
                saved.clone_from(&cursor.done.lock());
                engine.saved(cursor.low());
            }
        }
        tokio::time::sleep(Duration::from_micros(kill.pause_us.into())).await;
        drop(engine);
        origin.nobody_is_connected().await;
        *cursor.done.lock() = saved;
    }
    let mut config = config();
    config.resumed = !kills.is_empty();
    let engine = Engine::start(config, cursor.clone()).unwrap();
    let done = cursor.done.lock().clone();
    for event in events {
        if !done.contains(&event.position()) {
            feed(&engine, event).await;
        }
    }
    engine.settled().await;
    let documents = shadow.lock().store.documents();
    Ran {
        primary,
        shadow: documents,
        lost: cursor.lost.lock().clone(),
        doubts: cursor.doubts.lock().clone(),
    }
}

async fn feed(engine: &Engine, event: Event) {
    match event {
        Event::Begun(position, request) => drop(engine.begun(position, &request)),
        Event::Complete(exchange) => engine.offer(exchange).await.unwrap(),
    }
}

fn write() -> impl Strategy<Value = Write> {
    let (id, v) = (|| 0..6_u8, || 0..10_u8);
    prop_oneof![
        3 => (id(), v()).prop_map(|(id, v)| Write::Index(id, v)),
        1 => v().prop_map(Write::Append),
        2 => (id(), v()).prop_map(|(id, v)| Write::Create(id, v)),
        1 => (id(), v()).prop_map(|(id, v)| Write::Conditional(id, v)),
        2 => (id(), v()).prop_map(|(id, v)| Write::Update(id, v)),
        1 => (id(), v()).prop_map(|(id, v)| Write::DocAsUpsert(id, v)),
        2 => id().prop_map(Write::Count),
        1 => id().prop_map(Write::CountOrInsert),
        2 => id().prop_map(Write::Delete),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => write().prop_map(Op::Write),
        4 => proptest::collection::vec(write(), 1..7).prop_map(Op::Bulk),
        1 => (0..6_u8).prop_map(Op::Get),
        1 => Just(Op::Search),
        1 => (0..4_u8).prop_map(Op::DeleteByQuery),
        1 => (0..10_u8).prop_map(Op::UpdateByQuery),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => op().prop_map(Step::Begin),
        3 => any::<u8>().prop_map(Step::Run),
        3 => any::<u8>().prop_map(Step::Answer),
    ]
}

fn kill() -> impl Strategy<Value = Kill> {
    (1..120_usize, 0..3000_u16, 1..40_usize).prop_map(|(after, pause_us, saved_every)| Kill {
        after,
        pause_us,
        saved_every,
    })
}

fn run(steps: &[Step], kills: &[Kill], share: u64, seed: u64, room: usize) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // What hangs is to be shown, and made smaller.
    let far = Duration::from_secs(20);
    let ran = async { tokio::time::timeout(far, follow(steps, kills, share, seed, room)).await };
    runtime.block_on(ran).expect("it comes to an end")
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, max_shrink_time: 60_000, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_documents_of_a_shadow_that_never_fails_are_those_of_the_primary(
        steps in proptest::collection::vec(step(), 0..150),
        seed in any::<u64>(),
    ) {
        let ran = run(&steps, &[], 0, seed, ROOM);
        prop_assert_eq!(&ran.lost, &[]);
        prop_assert_eq!(ran.refused(), Vec::<&Ambiguous>::new());
        prop_assert_eq!(ran.shadow, ran.primary);
    }

    #[test]
    fn the_documents_of_a_shadow_that_fails_and_fails_are_those_of_the_primary(
        steps in proptest::collection::vec(step(), 0..150),
        share in 0..50_u64,
        seed in any::<u64>(),
    ) {
        let ran = run(&steps, &[], share, seed, ROOM);
        prop_assert_eq!(&ran.lost, &[]);
        prop_assert_eq!(ran.shadow, ran.primary);
    }

    #[test]
    fn the_documents_are_the_same_when_the_engine_is_killed_again_and_again(
        steps in proptest::collection::vec(step(), 0..150),
        kills in proptest::collection::vec(kill(), 1..4),
        share in 0..30_u64,
        seed in any::<u64>(),
    ) {
        let ran = run(&steps, &kills, share, seed, ROOM);
        prop_assert_eq!(&ran.lost, &[]);
        prop_assert_eq!(ran.shadow, ran.primary);
    }

    #[test]
    fn with_answers_lost_and_hardly_any_room_all_is_sent_and_what_differs_is_listed(
        steps in proptest::collection::vec(prop_oneof![9 => step(), 1 => any::<u8>().prop_map(Step::Lose)], 0..150),
        share in 0..20_u64,
        seed in any::<u64>(),
        room in prop_oneof![1..8_usize, Just(ROOM)],
    ) {
        let ran = run(&steps, &[], share, seed, room);
        prop_assert_eq!(ran.differ_unlisted(), Vec::<String>::new());
    }
}

/// More than a history has.
const ROOM: usize = 8192;

/// `SOAK_CASES` asks for more than a test run has time for.
fn cases() -> u32 {
    let asked = std::env::var("SOAK_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

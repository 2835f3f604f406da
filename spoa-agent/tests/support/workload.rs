//! Clients of a search cluster that write to the same documents from many connections.
//!
//! [`Plan::new`] decides from a seed what is asked, on which connection and after what; [`Plan::run`] asks it.
//! The plan is the same for the same [`Options`]; how the requests of different connections overlap
//! is not, and that is what is tested.
//!
//! A chain is a sequence of steps of which each one is asked when the one before was answered, often on another
//! connection: whatever sees only connections cannot know that order. Every written document holds
//! the number of its step, so that no two writes are alike.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::engines::Api;
use super::load::Dice;

/// The indices that hold the hot documents.
pub(crate) const INDICES: [&str; 2] = ["hot-0", "hot-1"];

/// What the clients do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) connections: usize,
    /// Requests in all, about.
    pub(crate) operations: usize,
    /// Hot documents over all [`INDICES`]; some are hotter than others.
    pub(crate) documents: u64,
    /// Of a thousand chains, how many are one by-query operation.
    pub(crate) by_query: u64,
    /// Whether the cluster chooses ids, and conditions and chains depend on answers.
    pub(crate) ids_from_cluster: bool,
}

impl Default for Options {
    /// As `SPOA_CONVERGE_OPS`, `_CONNECTIONS`, `_DOCUMENTS` and `_SEED` say; without them, small.
    fn default() -> Self {
        let number = |name: &str, otherwise: u64| match std::env::var(name) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name}: no number: {text}")),
            Err(_) => otherwise,
        };
        let size = |name, otherwise| usize::try_from(number(name, otherwise)).unwrap();
        Self {
            seed: number("SPOA_CONVERGE_SEED", 1),
            connections: size("SPOA_CONVERGE_CONNECTIONS", 64),
            operations: size("SPOA_CONVERGE_OPS", 3000),
            documents: number("SPOA_CONVERGE_DOCUMENTS", 1000),
            by_query: 0,
            ids_from_cluster: true,
        }
    }
}

/// One request. What depends on the answer before is filled in when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// These bytes.
    Whole(Request),
    /// A document as a whole, if it is still as the answer before said (`if_seq_no`).
    IfUnchanged { target: String, document: Value },
    /// A partial update of the document that the answer before names.
    UpdateAnswered { index: String, document: Value },
    /// The next page of the scroll of the answer before.
    Scroll,
    /// The end of the scroll.
    ScrollEnd,
    /// A page of the point in time, after the last hit of the answer before.
    Page { size: u64 },
    /// The end of the point in time.
    PitEnd,
}

/// A request with nothing to fill in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) kind: &'static str,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// One request on one connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) connection: usize,
    pub(crate) ask: Ask,
}

/// Chains, each of steps in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) chains: Vec<Vec<Step>>,
}

/// Makes the [`INDICES`], the same on every cluster.
pub(crate) fn create_indices(api: &mut Api) {
    let body = json!({
        "settings": {"number_of_shards": 2, "number_of_replicas": 0},
        "mappings": {"properties": {"n": {"type": "long"}, "list": {"type": "long"}, "tag": {"type": "keyword"}, "step": {"type": "long"}}},
    });
    for index in INDICES {
        api.ok("PUT", &format!("/{index}"), Some(&body));
    }
}

impl Plan {
    /// Every kind of write on hot documents, with reads between.
    pub(crate) fn new(options: &Options) -> Self {
        let mut writer = Writer {
            dice: Dice(options.seed),
            options: options.clone(),
            step: 0,
        };
        let mut chains = Vec::new();
        let mut planned = 0;
        while planned < options.operations {
            let chain = writer.chain();
            planned += chain.len();
            chains.push(chain);
        }
        Self {
            connections: options.connections,
            chains,
        }
    }

    /// `documents` new documents without ids, in bulks of `bulk`.
    pub(crate) fn auto_ids(connections: usize, documents: usize, bulk: usize) -> Self {
        let one = |first: usize| {
            let mut body = String::new();
            for number in first..documents.min(first + bulk) {
                body += &format!(
                    "{{\"index\":{{}}}}\n{{\"n\":{number},\"tag\":\"t{}\"}}\n",
                    number % 10
                );
            }
            whole("bulk", "POST", "/hot-0/_bulk".to_owned(), body)
        };
        let bulks = (0..documents).step_by(bulk).map(one);
        let chains = bulks
            .enumerate()
            .map(|(number, ask)| {
                vec![Step {
                    connection: number % connections,
                    ask,
                }]
            })
            .collect();
        Self {
            connections,
            chains,
        }
    }

    /// `count` chains that page through the documents of [`Plan::auto_ids`], each step on any connection; every second one by a point in time where
    /// the engine has them.
    pub(crate) fn contexts(seed: u64, connections: usize, count: usize, with_pit: bool) -> Self {
        let mut dice = Dice(seed);
        let chains = (0..count)
            .map(|number| {
                let index = INDICES[0];
                let pages = 1 + dice.below(4);
                let asks = match with_pit && number % 2 == 1 {
                    true => pit(index, pages),
                    false => scroll(index, pages),
                };
                asks.into_iter()
                    .map(|ask| Step {
                        connection: below(&mut dice, connections),
                        ask,
                    })
                    .collect()
            })
            .collect();
        Self {
            connections,
            chains,
        }
    }

    pub(crate) fn steps(&self) -> usize {
        self.chains.iter().map(Vec::len).sum()
    }

    /// Asks everything; `watch` is told the number of answers so far, again and again.
    pub(crate) fn run(self, address: SocketAddr, mut watch: impl FnMut(usize)) -> Report {
        let steps = self.steps();
        let began = Instant::now();
        let run = Arc::new(Run::new(self));
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..run.plan.connections).map(|_| channel()).unzip();
        for _ in 0..2 * senders.len() {
            run.begin_chain(&senders);
        }
        let workers: Vec<_> = receivers
            .into_iter()
            .map(|receiver| {
                let (run, senders) = (Arc::clone(&run), senders.clone());
                std::thread::spawn(move || work(&run, &receiver, &senders, address))
            })
            .collect();
        while run.chains_left.load(Ordering::SeqCst) > 0 {
            watch(run.answered.load(Ordering::SeqCst));
            if workers.iter().any(|worker| worker.is_finished()) {
                // One of them failed, and its chain with it: the others must not wait for that.
                run.stopping.store(true, Ordering::SeqCst);
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(senders);
        for worker in workers {
            worker.join().unwrap();
        }
        let took = began.elapsed();
        let run = Arc::into_inner(run).unwrap();
        Report {
            steps,
            took,
            outcomes: run.outcomes.into_inner().unwrap(),
            denied: run.denied.into_inner(),
            lost: run.lost.into_inner(),
        }
    }
}

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) steps: usize,
    pub(crate) took: Duration,
    /// How many answers of each kind of request had each status.
    pub(crate) outcomes: BTreeMap<(&'static str, u16), u64>,
    /// How many times HAProxy or the cluster said that it is busy or that a write is not safe now; asked again each time.
    pub(crate) denied: u64,
    /// Requests whose connection broke before an answer came; not asked again.
    pub(crate) lost: u64,
}

impl Report {
    /// How many answers had a status in `statuses`.
    pub(crate) fn with_status(&self, statuses: std::ops::Range<u16>) -> u64 {
        let all = self.outcomes.iter();
        all.filter(|((_, status), _)| statuses.contains(status))
            .map(|(_, count)| count)
            .sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (steps, took) = (self.steps, self.took);
        write!(
            out,
            "{steps} requests in {took:.1?}, {} denied and asked again, {} lost:",
            self.denied, self.lost
        )?;
        for ((kind, status), count) in &self.outcomes {
            write!(out, " {kind} {status}: {count};")?;
        }
        Ok(())
    }
}

/// A plan that is carried out.
struct Run {
    plan: Plan,
    next_chain: AtomicUsize,
    chains_left: AtomicUsize,
    stopping: AtomicBool,
    answered: AtomicUsize,
    outcomes: Mutex<BTreeMap<(&'static str, u16), u64>>,
    denied: AtomicU64,
    lost: AtomicU64,
}

/// A step that may be asked now.
struct Due {
    chain: usize,
    step: usize,
    /// The answers so far of which something is needed.
    known: Known,
}

/// What a chain learnt.
#[derive(Clone, Debug, Default)]
struct Known {
    answer: Value,
    pit: Value,
}

impl Run {
    fn new(plan: Plan) -> Self {
        Self {
            next_chain: AtomicUsize::new(0),
            chains_left: AtomicUsize::new(plan.chains.len()),
            stopping: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            outcomes: Mutex::default(),
            denied: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            plan,
        }
    }

    fn begin_chain(&self, senders: &[Sender<Due>]) {
        let chain = self.next_chain.fetch_add(1, Ordering::SeqCst);
        if let Some(steps) = self.plan.chains.get(chain) {
            let due = Due {
                chain,
                step: 0,
                known: Known::default(),
            };
            senders[steps[0].connection].send(due).unwrap();
        }
    }

    fn go_on(&self, due: Due, senders: &[Sender<Due>]) {
        let steps = &self.plan.chains[due.chain];
        match steps.get(due.step + 1) {
            Some(next) => {
                let step = due.step + 1;
                senders[next.connection].send(Due { step, ..due }).unwrap();
            }
            None => {
                self.begin_chain(senders);
                self.chains_left.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    fn count(&self, kind: &'static str, status: u16) {
        let mut outcomes = self.outcomes.lock().unwrap();
        *outcomes.entry((kind, status)).or_default() += 1;
    }
}

/// One connection, until every chain is done.
fn work(run: &Run, receiver: &Receiver<Due>, senders: &[Sender<Due>], address: SocketAddr) {
    let mut api = Api::new(address);
    while run.chains_left.load(Ordering::SeqCst) > 0 && !run.stopping.load(Ordering::SeqCst) {
        let Ok(mut due) = receiver.recv_timeout(Duration::from_millis(20)) else {
            continue;
        };
        let step = &run.plan.chains[due.chain][due.step];
        // A step whose answer before was an error has nothing to fill in, and is left out.
        if let Some(request) = fill(&step.ask, &due.known) {
            ask(run, &mut api, &request, &mut due.known);
        }
        run.answered.fetch_add(1, Ordering::SeqCst);
        run.go_on(due, senders);
    }
}

/// Asks until it is not denied.
fn ask(run: &Run, api: &mut Api, request: &Request, known: &mut Known) {
    let end = Instant::now() + PATIENCE;
    known.answer = Value::Null;
    loop {
        let Ok(answer) = api.send(request.method, &request.target, &request.body) else {
            run.lost.fetch_add(1, Ordering::SeqCst);
            return;
        };
        if matches!(answer.status, 429 | 503) && Instant::now() < end {
            run.denied.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        run.count(request.kind, answer.status);
        if answer.status < 300 {
            known.answer = serde_json::from_slice(&answer.message.body).unwrap_or(Value::Null);
            if !known.answer["pit_id"].is_null() {
                known.pit = known.answer["pit_id"].clone();
            }
        }
        return;
    }
}

/// The request, when the answers hold what it needs.
fn fill(ask: &Ask, known: &Known) -> Option<Request> {
    let answer = &known.answer;
    match ask {
        Ask::Whole(request) => Some(request.clone()),
        Ask::IfUnchanged { target, document } => {
            let (number, term) = (
                answer["_seq_no"].as_u64()?,
                answer["_primary_term"].as_u64()?,
            );
            let sign = if target.contains('?') { '&' } else { '?' };
            let target = format!("{target}{sign}if_seq_no={number}&if_primary_term={term}");
            Some(request("if_seq_no", "PUT", target, document))
        }
        Ask::UpdateAnswered { index, document } => {
            let id = answer["_id"].as_str()?;
            let body = json!({"doc": document});
            Some(request(
                "update",
                "POST",
                format!("/{index}/_update/{id}"),
                &body,
            ))
        }
        Ask::Scroll => {
            let body = json!({"scroll": "2m", "scroll_id": answer["_scroll_id"].as_str()?});
            Some(request(
                "scroll",
                "POST",
                "/_search/scroll".to_owned(),
                &body,
            ))
        }
        Ask::ScrollEnd => {
            let body = json!({"scroll_id": [answer["_scroll_id"].as_str()?]});
            Some(request(
                "scroll end",
                "DELETE",
                "/_search/scroll".to_owned(),
                &body,
            ))
        }
        Ask::Page { size } => {
            let mut body = json!({"size": size, "sort": [{"n": "asc"}], "pit": {"id": known.pit.as_str()?, "keep_alive": "2m"}});
            if let Some(last) = answer["hits"]["hits"]
                .as_array()
                .and_then(|hits| hits.last())
            {
                body["search_after"] = last["sort"].clone();
            }
            Some(request("pit page", "POST", "/_search".to_owned(), &body))
        }
        Ask::PitEnd => {
            let body = json!({"pit_id": [known.pit.as_str()?]});
            Some(request(
                "pit end",
                "DELETE",
                "/_search/point_in_time".to_owned(),
                &body,
            ))
        }
    }
}

fn request(kind: &'static str, method: &'static str, target: String, body: &Value) -> Request {
    Request {
        kind,
        method,
        target,
        body: serde_json::to_vec(body).unwrap(),
    }
}

fn whole(
    kind: &'static str,
    method: &'static str,
    target: String,
    body: impl Into<Vec<u8>>,
) -> Ask {
    Ask::Whole(Request {
        kind,
        method,
        target,
        body: body.into(),
    })
}

fn json(kind: &'static str, method: &'static str, target: String, body: &Value) -> Ask {
    Ask::Whole(request(kind, method, target, body))
}

fn scroll(index: &str, pages: u64) -> Vec<Ask> {
    let first = json!({"size": 3, "sort": ["_doc"]});
    let mut asks = vec![json(
        "scroll begin",
        "POST",
        format!("/{index}/_search?scroll=2m"),
        &first,
    )];
    asks.extend((0..pages).map(|_| Ask::Scroll));
    asks.push(Ask::ScrollEnd);
    asks
}

fn pit(index: &str, pages: u64) -> Vec<Ask> {
    let begin = format!("/{index}/_search/point_in_time?keep_alive=2m");
    let mut asks = vec![whole("pit begin", "POST", begin, "")];
    asks.extend((0..pages).map(|_| Ask::Page { size: 3 }));
    asks.push(Ask::PitEnd);
    asks
}

fn below(dice: &mut Dice, limit: usize) -> usize {
    usize::try_from(dice.below(u64::try_from(limit).unwrap())).unwrap()
}

/// A hot document.
#[derive(Clone, Copy)]
struct Hot {
    number: u64,
}

impl Hot {
    fn index(self) -> &'static str {
        INDICES[usize::try_from(self.number % 2).unwrap()]
    }

    fn id(self) -> String {
        format!("d{}", self.number)
    }

    /// Some documents live under a routing value of their own.
    fn routing(self) -> Option<String> {
        (self.number % 8 == 3).then(|| format!("r{}", self.number % 5))
    }

    /// The path of this API, with the routing and `parameters`.
    fn target(self, api: &str, parameters: &str) -> String {
        let routing = self.routing().map(|routing| format!("routing={routing}"));
        let query: Vec<String> = routing
            .into_iter()
            .chain((!parameters.is_empty()).then(|| parameters.to_owned()))
            .collect();
        let mut target = format!("/{}/{api}/{}", self.index(), self.id());
        if !query.is_empty() {
            target += &format!("?{}", query.join("&"));
        }
        target
    }
}

/// Writes the plan.
struct Writer {
    dice: Dice,
    options: Options,
    /// Of the write that is planned.
    step: u64,
}

impl Writer {
    /// Some documents are much hotter than others: two connections meet on them all the time.
    fn hot(&mut self) -> Hot {
        let documents = self.options.documents;
        let (one, other) = (self.dice.below(documents), self.dice.below(documents));
        Hot {
            number: one * other / documents,
        }
    }

    fn document(&mut self) -> Value {
        self.step += 1;
        json!({"n": self.dice.below(100), "list": [self.step], "tag": format!("t{}", self.dice.below(10)), "step": self.step})
    }

    /// `refresh=true` now and then.
    fn refresh(&mut self) -> &'static str {
        if self.dice.below(20) == 0 {
            "refresh=true"
        } else {
            ""
        }
    }

    fn chain(&mut self) -> Vec<Step> {
        let asks = self.asks();
        let connections = self.options.connections;
        let mut connection = below(&mut self.dice, connections);
        asks.into_iter()
            .map(|ask| {
                let step = Step { connection, ask };
                // The next step mostly comes from somebody else.
                if self.dice.below(4) != 0 {
                    connection = below(&mut self.dice, connections);
                }
                step
            })
            .collect()
    }

    fn asks(&mut self) -> Vec<Ask> {
        if self.dice.below(1000) < self.options.by_query {
            return vec![self.by_query()];
        }
        let hot = self.hot();
        match self.dice.below(20) {
            0..5 => vec![self.write(hot)],
            5..7 => vec![self.bulk()],
            7..9 => vec![
                self.create(hot),
                self.update(hot),
                self.script(hot),
                self.delete(hot),
            ],
            9 => vec![self.delete(hot), self.create(hot), self.append(hot)],
            10 => vec![
                self.index(hot),
                self.script(hot),
                self.script(hot),
                self.append(hot),
            ],
            11 => vec![self.bulk(), self.write(hot), self.bulk()],
            12 => vec![self.refresh_index(), self.search(), self.write(hot)],
            13 => vec![self.get(hot), self.search()],
            14 => vec![self.upsert(hot), self.update(hot), self.get(hot)],
            15 => vec![self.wrong_condition(hot)],
            16..18 if self.options.ids_from_cluster => self.read_then_write(hot),
            18 if self.options.ids_from_cluster => self.auto_id(),
            _ => vec![self.write(hot), self.get(hot)],
        }
    }

    fn write(&mut self, hot: Hot) -> Ask {
        match self.dice.below(8) {
            0 => self.index(hot),
            1 => self.create(hot),
            2 => self.update(hot),
            3 => self.upsert(hot),
            4 | 5 => self.script(hot),
            6 => self.append(hot),
            _ => self.delete(hot),
        }
    }

    fn index(&mut self, hot: Hot) -> Ask {
        let refresh = self.refresh();
        json(
            "index",
            "PUT",
            hot.target("_doc", refresh),
            &self.document(),
        )
    }

    fn create(&mut self, hot: Hot) -> Ask {
        json("create", "PUT", hot.target("_create", ""), &self.document())
    }

    fn update(&mut self, hot: Hot) -> Ask {
        let refresh = self.refresh();
        let mut document = self.document();
        document.as_object_mut().unwrap().remove("list");
        json(
            "update",
            "POST",
            hot.target("_update", refresh),
            &json!({"doc": document}),
        )
    }

    fn upsert(&mut self, hot: Hot) -> Ask {
        let (document, upsert) = (self.document(), self.document());
        let body = match self.dice.below(2) {
            0 => json!({"doc": document, "doc_as_upsert": true}),
            _ => json!({"doc": {"step": document["step"]}, "upsert": upsert}),
        };
        json("upsert", "POST", hot.target("_update", ""), &body)
    }

    fn script(&mut self, hot: Hot) -> Ask {
        let parameters = match self.dice.below(2) {
            0 => "retry_on_conflict=3",
            _ => "",
        };
        json(
            "script",
            "POST",
            hot.target("_update", parameters),
            &json!({"script": self.add()}),
        )
    }

    fn add(&mut self) -> Value {
        json!({"source": "ctx._source.n += params.by", "lang": "painless", "params": {"by": 1 + self.dice.below(9)}})
    }

    fn append(&mut self, hot: Hot) -> Ask {
        self.step += 1;
        let script =
            json!({"source": "ctx._source.list.add(params.step)", "params": {"step": self.step}});
        json(
            "script",
            "POST",
            hot.target("_update", ""),
            &json!({"script": script}),
        )
    }

    fn delete(&mut self, hot: Hot) -> Ask {
        let refresh = self.refresh();
        whole("delete", "DELETE", hot.target("_doc", refresh), "")
    }

    fn get(&mut self, hot: Hot) -> Ask {
        whole("get", "GET", hot.target("_doc", ""), "")
    }

    fn search(&mut self) -> Ask {
        let index = INDICES[below(&mut self.dice, INDICES.len())];
        let body =
            json!({"size": 3, "query": {"term": {"tag": format!("t{}", self.dice.below(10))}}});
        json("search", "POST", format!("/{index}/_search"), &body)
    }

    fn refresh_index(&mut self) -> Ask {
        let index = INDICES[below(&mut self.dice, INDICES.len())];
        whole("refresh", "POST", format!("/{index}/_refresh"), "")
    }

    /// Refused always: no write has this number.
    fn wrong_condition(&mut self, hot: Hot) -> Ask {
        let target = hot.target("_doc", "if_seq_no=9007199254740992&if_primary_term=1");
        json("if_seq_no wrong", "PUT", target, &self.document())
    }

    /// Accepted unless somebody else was faster.
    fn read_then_write(&mut self, hot: Hot) -> Vec<Ask> {
        let changed = Ask::IfUnchanged {
            target: hot.target("_doc", ""),
            document: self.document(),
        };
        vec![self.get(hot), changed]
    }

    /// A document whose id the cluster chooses, changed on another connection by that id.
    fn auto_id(&mut self) -> Vec<Ask> {
        let index = INDICES[0];
        let create = json(
            "index without id",
            "POST",
            format!("/{index}/_doc"),
            &self.document(),
        );
        let change = Ask::UpdateAnswered {
            index: index.to_owned(),
            document: json!({"step": self.document()["step"]}),
        };
        vec![create, change]
    }

    /// Mixed items, some of them on the same document.
    fn bulk(&mut self) -> Ask {
        let mut body = String::new();
        for _ in 0..1 + self.dice.below(8) {
            let hot = self.hot();
            let mut meta = json!({"_index": hot.index(), "_id": hot.id()});
            if let Some(routing) = hot.routing() {
                meta["routing"] = routing.into();
            }
            let document = self.document();
            let (action, source) = match self.dice.below(8) {
                0 | 1 => ("index", document),
                2 => ("create", document),
                3 => ("update", json!({"doc": {"step": document["step"]}})),
                4 => (
                    "update",
                    json!({"doc": {"step": document["step"]}, "upsert": document}),
                ),
                5 => ("update", json!({"script": self.add()})),
                6 if self.options.ids_from_cluster => {
                    meta = json!({"_index": hot.index()});
                    ("index", document)
                }
                _ => ("delete", Value::Null),
            };
            body += &format!("{}\n", json!({action: meta}));
            if !source.is_null() {
                body += &format!("{source}\n");
            }
        }
        let refresh = match self.refresh() {
            "" => "",
            _ => "?refresh=true",
        };
        whole("bulk", "POST", format!("/_bulk{refresh}"), body)
    }

    fn by_query(&mut self) -> Ask {
        let index = INDICES[below(&mut self.dice, INDICES.len())];
        let tag = format!("t{}", self.dice.below(10));
        let number = self.dice.below(100);
        match self.dice.below(3) {
            0 => {
                let query = json!({"bool": {"filter": [{"term": {"tag": tag}}, {"range": {"n": {"lt": number / 10}}}]}});
                json(
                    "delete by query",
                    "POST",
                    format!("/{index}/_delete_by_query?conflicts=proceed&refresh=true"),
                    &json!({"query": query}),
                )
            }
            _ => {
                let body = json!({"query": {"term": {"tag": tag}}, "script": self.add()});
                json(
                    "update by query",
                    "POST",
                    format!("/{index}/_update_by_query?conflicts=proceed&refresh=true"),
                    &body,
                )
            }
        }
    }
}

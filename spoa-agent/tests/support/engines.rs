//! Real search engines: nodes of Elasticsearch 7.10.2 and OpenSearch 2.19 (`demo/engines`), and what is in them.
//!
//! A node takes seconds to start, so each is started once per test binary, when it is first asked for, and
//! [`lend`] gives it to one test at a time, empty. A node ends by itself when the process of the test
//! does: its standard input ends then. Where the nodes are not installed, this says so, and fails where `CI=true`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use exchange::Half;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::{Agent, PATIENCE};

/// Which engine a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Elasticsearch 7.10.2, the open part: no PIT, no async search.
    Elasticsearch,
    /// OpenSearch 2.19.1.
    Opensearch,
}

/// A running node. Ends, with its data, when it is dropped.
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    address: SocketAddr,
    process: Child,
    /// The node ends when this is closed.
    stdin: Option<ChildStdin>,
}

impl Engine {
    pub(crate) fn elasticsearch() -> Self {
        Self::start(Kind::Elasticsearch)
    }

    pub(crate) fn opensearch() -> Self {
        Self::start(Kind::Opensearch)
    }

    /// Returns when it answers.
    pub(crate) fn start(kind: Kind) -> Self {
        let began = Instant::now();
        let name = match kind {
            Kind::Elasticsearch => "elasticsearch",
            Kind::Opensearch => "opensearch",
        };
        let mut process = Command::new(program())
            .arg(name)
            .arg(format!("host={}", super::own_host()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let address = said
            .trim()
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("{name} did not start: {said}"))
            .parse()
            .unwrap();
        let engine = Self {
            kind,
            address,
            process,
            stdin,
        };
        eprintln!("{name} on {address} answers after {:.1?}", began.elapsed());
        engine
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.address)
    }

    /// Bytes of memory that are resident.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// Takes everything out: indices, contexts and templates.
    pub(crate) fn empty(&self) {
        let mut api = self.api();
        api.ok("DELETE", "/*?expand_wildcards=all", None);
        api.ask("DELETE", "/_index_template/*", None);
        api.ask("DELETE", "/_search/scroll/_all", None);
        if self.kind == Kind::Opensearch {
            api.ask("DELETE", "/_search/point_in_time/_all", None);
        }
    }

    /// Scrolls and PITs that are open.
    pub(crate) fn open_contexts(&self) -> u64 {
        self.search_statistic("open_contexts")
    }

    /// A number of `_nodes/stats/indices/search`, for example `scroll_total`.
    pub(crate) fn search_statistic(&self, name: &str) -> u64 {
        let stats = self.api().ok("GET", "/_nodes/stats/indices/search", None);
        let nodes = stats["nodes"].as_object().unwrap().values();
        nodes
            .map(|node| node["indices"]["search"][name].as_u64().unwrap())
            .sum()
    }

    /// Every document, after a refresh.
    pub(crate) fn contents(&self) -> Contents {
        let mut api = self.api();
        api.ok("POST", "/_refresh", None);
        let mut documents = BTreeMap::new();
        for index in self.indices() {
            read_index(&mut api, &index, &mut documents);
        }
        Contents { documents }
    }

    /// The indices, without those of the engine itself.
    pub(crate) fn indices(&self) -> BTreeSet<String> {
        let found = self
            .api()
            .ok("GET", "/_cat/indices?format=json&h=index", None);
        let names = found.as_array().unwrap().iter();
        names
            .map(|row| row["index"].as_str().unwrap().to_owned())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.process.wait());
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/engines/run")
}

/// A connection on which JSON is asked and answered, made again when it breaks.
pub(crate) struct Api {
    address: SocketAddr,
    client: Option<Client>,
}

impl Api {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            client: None,
        }
    }

    /// The status and the body.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(|body| serde_json::to_vec(body).unwrap());
        let answer = self
            .send(method, target, &body.unwrap_or_default())
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        let content = serde_json::from_slice(&answer.message.body).unwrap_or(Value::Null);
        (answer.status, content)
    }

    /// The body of an answer below 300.
    pub(crate) fn ok(&mut self, method: &str, target: &str, body: Option<&Value>) -> Value {
        let (status, content) = self.ask(method, target, body);
        assert!(status < 300, "{method} {target}: {status} {content}");
        content
    }

    /// The answer to these bytes. After an error nobody knows whether they were received.
    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::try_connect(self.address)?,
        };
        let fields = [("content-type", "application/json")];
        let fields = if body.is_empty() { &[][..] } else { &fields };
        let answer = client.request(method, target, fields, body)?;
        let closes = answer.message.text("connection");
        if !closes.is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.client = Some(client);
        }
        Ok(answer)
    }
}

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) routing: Option<String>,
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.index, self.id)?;
        self.routing
            .iter()
            .try_for_each(|routing| write!(out, " routing {routing}"))
    }
}

/// The documents of a cluster, their sources in canonical form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) documents: BTreeMap<Name, String>,
}

impl Contents {
    /// What this, the primary, and the shadow do not have in common.
    pub(crate) fn differences(&self, shadow: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let names: BTreeSet<&Name> = self
            .documents
            .keys()
            .chain(shadow.documents.keys())
            .collect();
        for name in names {
            let (primary, shadow) = (self.documents.get(name), shadow.documents.get(name));
            if primary != shadow {
                found.push(Difference {
                    name: name.clone(),
                    primary: primary.cloned(),
                    shadow: shadow.cloned(),
                });
            }
        }
        found
    }

    /// A number over all names and sources, for people to compare.
    pub(crate) fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        self.documents.hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn len(&self) -> usize {
        self.documents.len()
    }
}

/// A document that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) name: Name,
    /// Its source on the primary, when it is there.
    pub(crate) primary: Option<String>,
    /// Its source on the shadow, when it is there.
    pub(crate) shadow: Option<String>,
}

impl Difference {
    /// 0: both sides have it; 1: the primary alone; 2: the shadow alone.
    fn kind(&self) -> usize {
        match (&self.primary, &self.shadow) {
            (_, None) => 1,
            (None, _) => 2,
            _ => 0,
        }
    }
}

/// How many there are of each kind, and the first ones of each in full.
pub(crate) fn report(differences: &[Difference]) -> String {
    let kinds = [
        "have another source",
        "are not on the shadow",
        "are only there",
    ];
    let mut out = format!("{} documents differ\n", differences.len());
    for (kind, name) in kinds.into_iter().enumerate() {
        let found: Vec<_> = differences
            .iter()
            .filter(|one| one.kind() == kind)
            .collect();
        writeln!(out, "{} {name}", found.len()).unwrap();
        for one in found.into_iter().take(4) {
            let side = |source: &Option<String>| source.clone().unwrap_or_else(|| "-".to_owned());
            let (primary, shadow) = (side(&one.primary), side(&one.shadow));
            writeln!(
                out,
                "  {}\n    primary {primary}\n    shadow  {shadow}",
                one.name
            )
            .unwrap();
        }
    }
    out
}

fn read_index(api: &mut Api, index: &str, documents: &mut BTreeMap<Name, String>) {
    let before = documents.len();
    let first = json!({"size": 2000, "sort": ["_doc"], "track_total_hits": true});
    let target = format!("/{index}/_search?scroll=1m");
    let mut page = api.ok("POST", &target, Some(&first));
    let total = page["hits"]["total"]["value"].as_u64().unwrap();
    loop {
        assert_eq!(page["_shards"]["failed"], 0, "{page}");
        let hits = page["hits"]["hits"].as_array().unwrap();
        if hits.is_empty() {
            break;
        }
        for hit in hits {
            let text = |key: &str| hit[key].as_str().map(str::to_owned);
            let name = Name {
                index: text("_index").unwrap(),
                id: text("_id").unwrap(),
                routing: text("_routing"),
            };
            documents.insert(name, canonical(&hit["_source"]));
        }
        let next = json!({"scroll": "1m", "scroll_id": page["_scroll_id"]});
        page = api.ok("POST", "/_search/scroll", Some(&next));
    }
    let scroll = json!({"scroll_id": page["_scroll_id"]});
    api.ok("DELETE", "/_search/scroll", Some(&scroll));
    let read = documents.len() - before;
    assert_eq!(
        u64::try_from(read).unwrap(),
        total,
        "{index} was not read whole"
    );
}

/// The halves that name a document, in the order of the journal: `>` a request with its first bytes, `<` its response,
/// with the numbers that join them, and those of the records.
fn history(journal: &Path, name: &Name) -> String {
    let in_path = format!("/{}/_", name.index);
    let in_body = format!("\"{}\"", name.id);
    let mut asked = HashMap::new();
    let mut out = String::new();
    for (record, half) in super::journal::halves(journal).into_iter().enumerate() {
        match half {
            Half::Request(request) => {
                let (target, body) = (text(&request.target), text(&request.body.content));
                let path = target.split('?').next().unwrap();
                let is_its_path =
                    path.contains(&in_path) && path.ends_with(&format!("/{}", name.id));
                if !is_its_path && !body.contains(&in_body) {
                    continue;
                }
                let number = asked.len();
                asked.insert(request.id.clone(), number);
                let at = body.find(&in_body).map_or(0, |at| at.saturating_sub(40));
                let body: String = body.chars().skip(at).take(160).collect();
                let method = text(&request.method);
                writeln!(out, "  {record:6} > {number:3} {method} {target} {body:?}").unwrap();
            }
            Half::Response(response) => {
                let Some(number) = asked.get(&response.id) else {
                    continue;
                };
                let body = text(&response.body.content);
                let at = body.find(&in_body).unwrap_or(0);
                let body: String = body
                    .get(at..)
                    .unwrap_or_default()
                    .chars()
                    .take(200)
                    .collect();
                writeln!(
                    out,
                    "  {record:6} < {number:3} {} {body:?}",
                    response.status
                )
                .unwrap();
            }
            Half::Gap(gap) => writeln!(out, "  {record:6}   gap: {}", gap.reason).unwrap(),
            Half::Pair(_) => {}
        }
    }
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// JSON in which every object has its keys in order.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

/// A primary and a shadow, both empty, for one test alone.
pub(crate) struct Pair {
    nodes: MutexGuard<'static, Vec<Engine>>,
    primary: usize,
    shadow: usize,
}

static NODES: Mutex<Vec<Engine>> = Mutex::new(Vec::new());

/// Waits until no other test has any; starts what is not running yet. `None`, said aloud, where they are
/// not installed.
pub(crate) fn lend(primary: Kind, shadow: Kind) -> Option<Pair> {
    if !is_installed(primary) || !is_installed(shadow) {
        return None;
    }
    // A test that failed gives them back as well, and they are emptied all the same.
    let mut nodes = NODES.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = [primary, shadow];
    let missing: Vec<Kind> = [Kind::Elasticsearch, Kind::Opensearch]
        .into_iter()
        .flat_map(|kind| {
            let count =
                |kinds: &mut dyn Iterator<Item = Kind>| kinds.filter(|one| *one == kind).count();
            let wanted = count(&mut wanted.into_iter());
            let have = count(&mut nodes.iter().map(|node| node.kind));
            std::iter::repeat_n(kind, wanted.saturating_sub(have))
        })
        .collect();
    // Side by side: each keeps one core busy for a while.
    let starting: Vec<_> = missing
        .into_iter()
        .map(|kind| std::thread::spawn(move || Engine::start(kind)))
        .collect();
    nodes.extend(starting.into_iter().map(|thread| thread.join().unwrap()));
    let of_kind = |kind: Kind, not: Option<usize>| {
        let mut all = nodes.iter().enumerate();
        all.find(|(at, node)| node.kind == kind && Some(*at) != not)
            .map(|(at, _)| at)
            .unwrap()
    };
    let primary = of_kind(primary, None);
    let shadow = of_kind(shadow, Some(primary));
    nodes[primary].empty();
    nodes[shadow].empty();
    Some(Pair {
        nodes,
        primary,
        shadow,
    })
}

impl Pair {
    pub(crate) fn primary(&self) -> &Engine {
        &self.nodes[self.primary]
    }

    pub(crate) fn shadow(&self) -> &Engine {
        &self.nodes[self.shadow]
    }

    /// What is not the same on both sides.
    pub(crate) fn differences(&self) -> Vec<Difference> {
        let (primary, shadow) = std::thread::scope(|scope| {
            let primary = scope.spawn(|| self.primary().contents());
            let shadow = self.shadow().contents();
            (primary.join().unwrap(), shadow)
        });
        eprintln!(
            "primary {} documents, digest {:016x}; shadow {} documents, digest {:016x}",
            primary.len(),
            primary.digest(),
            shadow.len(),
            shadow.digest(),
        );
        primary.differences(&shadow)
    }

    /// `journal` tells what was asked for of some documents that differ.
    pub(crate) fn assert_equal(&self, journal: Option<&Path>) {
        let differences = self.differences();
        if differences.is_empty() {
            return;
        }
        let mut out = report(&differences);
        let mut worst: Vec<_> = differences.iter().collect();
        worst.sort_by_key(|one| one.kind());
        for (one, journal) in worst.into_iter().take(3).zip(journal.into_iter().cycle()) {
            write!(
                out,
                "in the journal, of {}:\n{}",
                one.name,
                history(journal, &one.name)
            )
            .unwrap();
        }
        panic!("{out}");
    }
}

fn is_installed(kind: Kind) -> bool {
    let name = match kind {
        Kind::Elasticsearch => "elasticsearch",
        Kind::Opensearch => "opensearch",
    };
    let complete =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../.cache/engines/{name}/complete"));
    if complete.exists() {
        return true;
    }
    eprintln!("NOT TESTED with {name}: it is not installed; scripts/setup engines does that");
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "in CI both engines must be there: see scripts/setup");
    false
}

/// Waits until the follower `shadow` is done with all that was captured. Fails when nothing moves for
/// [`PATIENCE`], however long it takes in all.
pub(crate) fn wait_until_drained(agent: &Agent) {
    let mut last = (Value::Null, Instant::now());
    loop {
        let ledger = agent.ledger();
        let (shadow, records) = (
            &ledger["followers"]["shadow"],
            &ledger["journal"]["records"],
        );
        let is_done = shadow["records"]["passed"] == *records && shadow["records"]["not_done"] == 0;
        let pending = &ledger["ambiguous"]["pending"];
        if is_done && shadow["waiting_for_other_half"] == 0 && *pending == 0 {
            return;
        }
        let state = json!([shadow["records"], records, shadow["exchanges"], pending]);
        if state != last.0 {
            last = (state, Instant::now());
        }
        assert!(
            last.1.elapsed() < PATIENCE,
            "the shadow does not move: {ledger:#}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

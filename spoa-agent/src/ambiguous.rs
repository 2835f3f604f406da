//! What may differ on the shadow because the captured halves do not tell what the primary did: a file with a
//! line of JSON for each, in the journal's directory. What is listed is listed once, until it is settled.
//!
//! ```text
//! {"index":"hot","id":"7","reason":"overlap","by":4711}        a document; "routing" when it has one
//! {"index":"hot","reason":"unrefreshed","by":4711}             any document of an index
//! {"exchange":4200,"reason":"id unknown","by":4711}            what an exchange wrote, whatever that is
//! {"index":"hot","id":"7","settled":true}                      not ambiguous any more
//! ```

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use shadow::{Ambiguous, Subject};

use crate::telemetry::metrics::{Ambiguity, AmbiguousMetrics};
use crate::telemetry::throttle::Throttle;

/// Name of the file in the journal's directory.
pub const FILE: &str = "ambiguous.ndjson";
/// What is listed at most; beyond, it is counted and not listed.
const MOST: usize = 1 << 17;

/// The list. It may be shared.
#[derive(Debug)]
pub struct AmbiguousList {
    path: PathBuf,
    state: Mutex<State>,
    most: usize,
    metrics: AmbiguousMetrics,
    trouble: Throttle,
    /// Removes the file in the end.
    temporary: Option<tempfile::TempPath>,
}

#[derive(Debug)]
struct State {
    file: File,
    lines: usize,
    hasher: RandomState,
    /// What is listed and not settled.
    open: HashSet<u64>,
}

impl AmbiguousList {
    /// Opens or creates the file (mode 0600).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(dir: &Path, metrics: AmbiguousMetrics) -> anyhow::Result<Self> {
        Self::bounded(dir.join(FILE), metrics, MOST)
    }

    /// The same for a file of another name.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open_file(path: PathBuf, metrics: AmbiguousMetrics) -> anyhow::Result<Self> {
        Self::bounded(path, metrics, MOST)
    }

    /// The same for a file that goes with the list.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn temporary(metrics: AmbiguousMetrics) -> anyhow::Result<Self> {
        let path = tempfile::NamedTempFile::new()
            .context("cannot make a temporary file for the list of what is ambiguous")?
            .into_temp_path();
        let mut list = Self::open_file(path.to_path_buf(), metrics)?;
        list.temporary = Some(path);
        Ok(list)
    }

    fn bounded(path: PathBuf, metrics: AmbiguousMetrics, most: usize) -> anyhow::Result<Self> {
        let state = State::open(&path).with_context(|| {
            format!(
                "cannot open {}, the list of what is ambiguous",
                path.display()
            )
        })?;
        Ok(Self {
            path,
            state: Mutex::new(state),
            most,
            metrics,
            trouble: Throttle::default(),
            temporary: None,
        })
    }

    /// Lists it, unless it is listed already.
    pub fn add(&self, ambiguous: &Ambiguous) {
        self.metrics.found.inc(Ambiguity::of(ambiguous.reason));
        let mut line = line(&ambiguous.subject, ambiguous.position);
        let mut state = self.state.lock();
        let name = state.hash(&line);
        if state.open.contains(&name) {
            return;
        }
        if state.open.len() >= self.most {
            self.metrics.unlisted.inc();
            return;
        }
        line.insert("reason".to_owned(), ambiguous.reason.into());
        line.insert("by".to_owned(), ambiguous.by.into());
        match state.append(line) {
            Ok(()) => drop(state.open.insert(name)),
            Err(error) => {
                self.metrics.unlisted.inc();
                self.complain(&error);
            }
        }
    }

    /// It is not ambiguous any more.
    pub fn settle(&self, subject: &Subject) {
        let mut line = line(subject, 0);
        let mut state = self.state.lock();
        let name = state.hash(&line);
        if !state.open.contains(&name) {
            return;
        }
        line.insert("settled".to_owned(), true.into());
        let written = state.append(line).and_then(|()| {
            state.open.remove(&name);
            // What is settled makes way when it has become more than what is not.
            let enough = self.most.max(state.open.len().saturating_mul(2));
            match state.lines > enough {
                true => state.rewrite(&self.path),
                false => Ok(()),
            }
        });
        if let Err(error) = written {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &io::Error) {
        if let Some(suppressed) = self.trouble.admit() {
            tracing::error!(path = %self.path.display(), %error, suppressed, "cannot write the list of what is ambiguous");
        }
    }

    /// How many are listed and not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().open.len()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lines of JSON: what is not settled, or everything that the file has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, all: bool) -> io::Result<Vec<u8>> {
        match all {
            true => fs::read(&self.path),
            false => {
                let lines = unsettled(&self.path)?;
                Ok(lines.iter().flat_map(Line::text).collect())
            }
        }
    }
}

impl State {
    fn open(path: &Path) -> io::Result<Self> {
        let mut state = Self {
            file: appending(path, false)?,
            lines: 0,
            hasher: RandomState::new(),
            open: HashSet::new(),
        };
        // A kill may have left the last line unfinished; then the next one must not continue it.
        if fs::read(path)?.last().is_some_and(|last| *last != b'\n') {
            state.file.write_all(b"\n")?;
        }
        for line in lines(path)? {
            let name = state.hash(&line.0);
            state.lines += 1;
            match line.is_settled() {
                true => state.open.remove(&name),
                false => state.open.insert(name),
            };
        }
        Ok(state)
    }

    fn hash(&self, line: &Map<String, Value>) -> u64 {
        self.hasher.hash_one(named(line))
    }

    fn append(&mut self, line: Map<String, Value>) -> io::Result<()> {
        self.file.write_all(&Line(line).text())?;
        self.lines += 1;
        Ok(())
    }

    /// Leaves out what is settled.
    fn rewrite(&mut self, path: &Path) -> io::Result<()> {
        let new_path = path.with_added_extension("new");
        let mut out = BufWriter::new(appending(&new_path, true)?);
        let lines = unsettled(path)?;
        for line in &lines {
            out.write_all(&line.text())?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&new_path, path)?;
        (self.file, self.lines) = (file, lines.len());
        Ok(())
    }
}

/// A line of the file.
#[derive(Debug)]
pub(crate) struct Line(Map<String, Value>);

impl Line {
    fn is_settled(&self) -> bool {
        self.0.contains_key("settled")
    }

    fn text(&self) -> Vec<u8> {
        // Strings and numbers always have a text.
        let mut text = serde_json::to_vec(&self.0).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Why it is ambiguous.
    pub(crate) fn reason(&self) -> &str {
        self.0.get("reason").and_then(Value::as_str).unwrap_or("-")
    }

    /// One of its values, as a person reads it.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        Some(match self.0.get(key)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }
}

/// What the file lists and is not settled, in the order in which it was listed.
///
/// # Errors
/// When the file cannot be read; one that is not there lists nothing.
pub(crate) fn unsettled(path: &Path) -> io::Result<Vec<Line>> {
    let mut open: BTreeMap<usize, Line> = BTreeMap::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (number, line) in lines(path)?.enumerate() {
        let name = named(&line.0);
        if line.is_settled() {
            if let Some(listed) = numbers.remove(&name) {
                open.remove(&listed);
            }
        } else if let Entry::Vacant(vacant) = numbers.entry(name) {
            vacant.insert(number);
            open.insert(number, line);
        }
    }
    Ok(open.into_values().collect())
}

/// What is no line of ours, such as one that a kill left unfinished, is passed over.
fn lines(path: &Path) -> io::Result<impl Iterator<Item = Line>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        file => Some(file?),
    };
    let lines = file.into_iter().flat_map(|file| {
        let lines = BufReader::new(file).split(b'\n');
        lines.map_while(Result::ok)
    });
    Ok(lines.filter_map(|line| serde_json::from_slice(&line).ok().map(Line)))
}

fn appending(path: &Path, anew: bool) -> io::Result<File> {
    if anew {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)
}

/// What the line is about.
fn named(line: &Map<String, Value>) -> String {
    let keys = ["index", "id", "routing", "exchange"];
    let parts: Vec<String> = keys
        .iter()
        .map(|key| line.get(*key).map_or_else(String::new, Value::to_string))
        .collect();
    parts.join("\n")
}

fn line(subject: &Subject, position: u64) -> Map<String, Value> {
    let text = |bytes: &Bytes| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let mut line = Map::new();
    match subject {
        Subject::Document(name) => {
            line.insert("index".to_owned(), text(&name.index));
            line.insert("id".to_owned(), text(&name.id));
            if let Some(routing) = &name.routing {
                line.insert("routing".to_owned(), text(routing));
            }
        }
        Subject::Index(name) => {
            line.insert("index".to_owned(), text(name));
        }
        Subject::Operation => {
            line.insert("exchange".to_owned(), position.into());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use shadow::DocumentName;
    use tempfile::TempDir;

    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn metrics() -> AmbiguousMetrics {
        Metrics::register(&mut Registry::default()).ambiguous
    }

    fn document(id: &str, routing: Option<&str>) -> DocumentName {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        DocumentName {
            index: bytes("i"),
            mapping_type: None,
            id: bytes(id),
            routing: routing.map(bytes),
        }
    }

    fn found(subject: Subject, reason: &'static str) -> Ambiguous {
        Ambiguous {
            position: 3,
            by: 7,
            subject,
            reason,
        }
    }

    fn add(list: &AmbiguousList, id: &str, routing: Option<&str>) {
        list.add(&found(Subject::Document(document(id, routing)), "overlap"));
    }

    fn text(list: &AmbiguousList, all: bool) -> String {
        String::from_utf8(list.read(all).unwrap()).unwrap()
    }

    #[test]
    fn each_document_index_and_exchange_is_listed_once_also_after_a_restart() {
        let dir = TempDir::new().unwrap();
        let metrics = metrics();
        for _restart in 0..2 {
            let list = AmbiguousList::open(dir.path(), metrics.clone()).unwrap();
            for _again in 0..2 {
                add(&list, "1", None);
                add(&list, "1", Some("r"));
                list.add(&found(Subject::Index("i".into()), "unrefreshed"));
                list.add(&found(Subject::Operation, "id unknown"));
            }
            assert_eq!(
                text(&list, false),
                "{\"index\":\"i\",\"id\":\"1\",\"reason\":\"overlap\",\"by\":7}\n\
                 {\"index\":\"i\",\"id\":\"1\",\"routing\":\"r\",\"reason\":\"overlap\",\"by\":7}\n\
                 {\"index\":\"i\",\"reason\":\"unrefreshed\",\"by\":7}\n\
                 {\"exchange\":3,\"reason\":\"id unknown\",\"by\":7}\n"
            );
        }
        assert_eq!(metrics.found.get(Ambiguity::Overlap), 8);
        assert_eq!(metrics.found.get(Ambiguity::IdUnknown), 4);
    }

    #[test]
    fn what_is_settled_is_not_listed_until_it_is_ambiguous_again() {
        let dir = TempDir::new().unwrap();
        let list = AmbiguousList::open(dir.path(), metrics()).unwrap();
        add(&list, "1", None);
        add(&list, "2", None);
        list.settle(&Subject::Document(document("1", None)));
        list.settle(&Subject::Document(document("unheard of", None)));
        assert_eq!((list.len(), text(&list, false).lines().count()), (1, 1));
        assert_eq!(text(&list, true).lines().count(), 3);
        let list = AmbiguousList::open(dir.path(), metrics()).unwrap();
        assert_eq!(list.len(), 1);
        add(&list, "1", None);
        assert_eq!(text(&list, false).lines().count(), 2);
    }

    #[test]
    fn a_line_that_a_kill_left_unfinished_costs_no_other_line() {
        let dir = TempDir::new().unwrap();
        let list = AmbiguousList::open(dir.path(), metrics()).unwrap();
        add(&list, "1", None);
        let mut file = appending(&dir.path().join(FILE), false).unwrap();
        file.write_all(b"{\"index\":\"i\",\"i").unwrap();
        let list = AmbiguousList::open(dir.path(), metrics()).unwrap();
        add(&list, "2", None);
        assert_eq!(text(&list, false).lines().count(), 2);
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted_and_not_listed() {
        let dir = TempDir::new().unwrap();
        let metrics = metrics();
        let list = AmbiguousList::bounded(dir.path().join(FILE), metrics.clone(), 10).unwrap();
        for id in 0..13 {
            add(&list, &id.to_string(), None);
        }
        assert_eq!((list.len(), metrics.unlisted.get()), (10, 3));
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_settled() {
        let dir = TempDir::new().unwrap();
        let list = AmbiguousList::bounded(dir.path().join(FILE), metrics(), 10).unwrap();
        add(&list, "stays", None);
        for id in 0..1000 {
            add(&list, &id.to_string(), None);
            list.settle(&Subject::Document(document(&id.to_string(), None)));
            assert!(text(&list, true).lines().count() <= 12);
        }
        assert_eq!(list.len(), 1);
        assert!(text(&list, false).contains("stays"));
    }
}

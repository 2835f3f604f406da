//! What may differ on the shadow because the captured halves do not tell what the primary did: a file with a
//! line of JSON for each, in the journal's directory. Each document is listed once. A replay that keeps no state
//! has the same lines in memory.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use shadow::{Ambiguous, Subject};

use crate::telemetry::throttle::Throttle;

/// Name of the file in the journal's directory.
pub const FILE: &str = "ambiguous.ndjson";
/// Lines that the file may have; beyond, they are counted and not written.
const MOST_LINES: usize = 1 << 20;
/// The same, without a file.
const MOST_LINES_IN_MEMORY: usize = 1 << 17;

/// The list. It may be shared.
#[derive(Debug)]
pub struct AmbiguousList {
    path: PathBuf,
    state: Mutex<State>,
    trouble: Throttle,
}

#[derive(Debug)]
enum Lines {
    File(File),
    Memory(Vec<u8>),
}

#[derive(Debug)]
struct State {
    lines: Lines,
    hasher: RandomState,
    listed: HashSet<u64>,
}

impl AmbiguousList {
    /// Opens or creates the file (mode 0600).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        Self::open_file(dir.join(FILE))
    }

    /// The same for a file of another name.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open_file(path: PathBuf) -> anyhow::Result<Self> {
        let state = State::open(&path).with_context(|| {
            format!(
                "cannot open {}, the list of what is ambiguous",
                path.display()
            )
        })?;
        Ok(Self {
            path,
            state: Mutex::new(state),
            trouble: Throttle::default(),
        })
    }

    /// A list that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            path: PathBuf::new(),
            state: Mutex::new(State {
                lines: Lines::Memory(Vec::new()),
                hasher: RandomState::new(),
                listed: HashSet::new(),
            }),
            trouble: Throttle::default(),
        }
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().listed.len()
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lists it, unless it is listed already.
    pub fn add(&self, ambiguous: &Ambiguous) {
        let mut line = line(ambiguous);
        let mut state = self.state.lock();
        let name = state.hasher.hash_one(named(&line));
        if state.listed.contains(&name) || state.is_full() {
            return;
        }
        line.insert("reason".to_owned(), ambiguous.reason.into());
        line.insert("by".to_owned(), ambiguous.by.into());
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        match state.write(text.as_bytes()) {
            Ok(()) => drop(state.listed.insert(name)),
            Err(error) => {
                if let Some(suppressed) = self.trouble.admit() {
                    tracing::error!(path = %self.path.display(), %error, suppressed, "cannot list what is ambiguous");
                }
            }
        }
    }

    /// The lines as they are.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match &self.state.lock().lines {
            Lines::Memory(lines) => Ok(lines.clone()),
            Lines::File(_) => std::fs::read(&self.path),
        }
    }
}

impl State {
    fn is_full(&self) -> bool {
        let most = match self.lines {
            Lines::File(_) => MOST_LINES,
            Lines::Memory(_) => MOST_LINES_IN_MEMORY,
        };
        self.listed.len() >= most
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.lines {
            Lines::File(file) => file.write_all(line),
            Lines::Memory(lines) => {
                lines.extend_from_slice(line);
                Ok(())
            }
        }
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        let hasher = RandomState::new();
        let mut listed = HashSet::new();
        for line in BufReader::new(&file).split(b'\n') {
            // A line that a kill left unfinished is read by nobody.
            if let Ok(Value::Object(line)) = serde_json::from_slice(&line?) {
                listed.insert(hasher.hash_one(named(&line)));
            }
        }
        Ok(Self {
            lines: Lines::File(file),
            hasher,
            listed,
        })
    }
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

fn line(ambiguous: &Ambiguous) -> Map<String, Value> {
    let text = |bytes: &Bytes| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let mut line = Map::new();
    match &ambiguous.subject {
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
            line.insert("exchange".to_owned(), ambiguous.position.into());
        }
    }
    line
}

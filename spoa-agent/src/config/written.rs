//! What was written, and where: the file, then the environment, then flags, each over the one before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Config, Key, keys};
use super::kind::{Kind, Raw, Shape};
use super::problem::{Origin, Problem, Problems};

/// The configuration file that is read when none is named and this one exists.
pub const DEFAULT_FILE: &str = "/etc/spoa-agent/config.toml";

/// The environment variable that names the configuration file.
pub const CONFIG_ENV: &str = "SPOA_AGENT_CONFIG";

const ENV_PREFIX: &str = "SPOA_AGENT_";

/// Largest configuration file, in bytes: far above what a person writes, far below what hurts.
const FILE_LIMIT: u64 = 1 << 20;

/// Names further apart than this are no misspelling of each other (Jaro-Winkler, 1 is equal).
const SIMILAR: f64 = 0.8;

/// The values of all sources so far, and what was wrong with reading them.
#[derive(Debug, Clone, Default)]
pub struct Written {
    values: BTreeMap<&'static str, Value>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone)]
struct Value {
    origin: Origin,
    raw: Raw,
}

impl Written {
    /// Turns what was written into what it means.
    ///
    /// # Errors
    ///
    /// Every mistake of all three sources at once.
    pub fn build(self) -> Result<Config, Problems> {
        let Examined { config, problems } = self.examine();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(problems))
        }
    }

    /// Reads a configuration file, called `path` in messages. One that cannot be read is a problem like
    /// any other.
    #[must_use]
    pub fn read_file(mut self, path: &Path) -> Self {
        match read_text(path) {
            Ok(text) => self.file(path, &text),
            Err(why) => {
                self.problems.push(Problem {
                    origin: Origin::File {
                        path: path.to_owned(),
                        line: 0,
                    },
                    key: String::new(),
                    value: None,
                    why,
                    way_out: "name a configuration file that can be read".to_owned(),
                });
                self
            }
        }
    }

    /// Reads the text of a configuration file, called `path` in messages.
    #[must_use]
    pub fn file(mut self, path: &Path, text: &str) -> Self {
        let mut file = File {
            path: path.to_owned(),
            text,
            written: &mut self,
        };
        file.read();
        self
    }

    /// Reads the environment; variables that do not begin with `SPOA_AGENT_` are not looked at.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut variables: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(ENV_PREFIX) && !is_not_ours(name))
            .collect();
        variables.sort();
        for (name, value) in variables {
            self.variable(name, value);
        }
        self
    }

    fn variable(&mut self, name: String, value: OsString) {
        let Some(key) = keys().find(|key| key.env() == name) else {
            let known: Vec<String> = keys()
                .map(Key::env)
                .chain([CONFIG_ENV.to_owned()])
                .collect();
            self.problems.push(Problem {
                way_out: suggestion(&name, known.iter().map(String::as_str)),
                origin: Origin::Env(name),
                key: String::new(),
                value: None,
                why: "unknown variable".to_owned(),
            });
            return;
        };
        let origin = Origin::Env(name);
        match value.into_string() {
            Ok(text) => self.set(key, origin, Raw::Text(text)),
            Err(bytes) => self.problems.push(Problem {
                origin,
                key: key.path.to_owned(),
                value: Some(bytes.to_string_lossy().into_owned()),
                why: "is not UTF-8".to_owned(),
                way_out: format!("write {}", key.accepts()),
            }),
        }
    }

    /// Takes the values of one flag; more than one only for lists.
    #[must_use]
    pub fn flag(mut self, key: &'static Key, values: Vec<String>) -> Self {
        let origin = Origin::Flag(format!("--{}", key.flag()));
        let raw = match key.shape() {
            Shape::List => {
                let items = values.iter().flat_map(|value| value.split(','));
                Raw::List(
                    items
                        .map(str::to_owned)
                        .filter(|item| !item.is_empty())
                        .collect(),
                )
            }
            Shape::Table => Raw::Text(values.join(",")),
            Shape::Text | Shape::Bare => {
                Raw::Text(values.into_iter().next_back().unwrap_or_default())
            }
        };
        self.set(key, origin, raw);
        self
    }

    fn set(&mut self, key: &'static Key, origin: Origin, raw: Raw) {
        self.values.insert(key.path, Value { origin, raw });
    }
}

/// Whether Kubernetes or Docker made the variable for a service called `spoa-agent`, such as
/// `SPOA_AGENT_SERVICE_HOST` or `SPOA_AGENT_PORT_12345_TCP_ADDR`: nobody wrote it.
fn is_not_ours(name: &str) -> bool {
    let name = name.strip_prefix(ENV_PREFIX).unwrap_or(name);
    let is_numbered_port = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    matches!(name, "CONFIG" | "PORT" | "SERVICE_HOST" | "SERVICE_PORT")
        || name.starts_with("SERVICE_PORT_")
        || name.strip_prefix("PORT_").is_some_and(is_numbered_port)
}

// ---------------------------------------------------------------------------------------------
// The file

fn read_text(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut text = String::new();
    let length = file
        .take(FILE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if length as u64 > FILE_LIMIT {
        return Err(format!("is longer than {FILE_LIMIT} bytes, the limit"));
    }
    Ok(text)
}

struct File<'t> {
    path: PathBuf,
    text: &'t str,
    written: &'t mut Written,
}

impl File<'_> {
    fn read(&mut self) {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map_or(0, |span| self.line(&span));
            self.problem(line, String::new(), None, error.message(), String::new());
        }
        for (name, value) in document.get_ref() {
            match value.get_ref() {
                DeValue::Table(table) => self.section(name, table),
                _value => self.unknown(&name.span(), name.get_ref()),
            }
        }
    }

    fn section(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, table: &DeTable<'_>) {
        let is_known = super::SECTIONS
            .iter()
            .any(|section| section.name == name.get_ref());
        if table.is_empty() && !is_known {
            self.unknown(&name.span(), name.get_ref());
        }
        for (key, value) in table {
            let path = format!("{}.{}", name.get_ref(), key.get_ref());
            let Some(known) = keys().find(|known| known.path == path) else {
                self.unknown(&key.span(), &path);
                continue;
            };
            let line = self.line(&key.span());
            let origin = Origin::File {
                path: self.path.clone(),
                line,
            };
            self.written.set(known, origin, raw(value.get_ref()));
        }
    }

    fn unknown(&mut self, span: &Range<usize>, path: &str) {
        let way_out = suggestion(path, keys().map(|key| key.path));
        let line = self.line(span);
        self.problem(line, path.to_owned(), None, "unknown key", way_out);
    }

    fn problem(
        &mut self,
        line: usize,
        key: String,
        value: Option<String>,
        why: &str,
        way_out: String,
    ) {
        let origin = Origin::File {
            path: self.path.clone(),
            line,
        };
        let why = why.to_owned();
        self.written.problems.push(Problem {
            origin,
            key,
            value,
            why,
            way_out,
        });
    }

    /// The line of a place in the text, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => Raw::Bare(number.as_str().to_owned()),
        DeValue::Float(number) => Raw::Bare(number.as_str().to_owned()),
        DeValue::Boolean(value) => Raw::Bare(value.to_string()),
        DeValue::Array(items) => {
            let texts = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned));
            texts
                .collect::<Option<Vec<String>>>()
                .map_or(Raw::Other("a list with more than strings"), Raw::List)
        }
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(table) => {
            let mut entries = Vec::new();
            if flatten("", table, &mut entries) {
                Raw::Table(entries)
            } else {
                Raw::Other("a table with lists or dates in it")
            }
        }
    }
}

/// Names and values of a table: `a.b = 1` in TOML is a table `a` with `b` in it. Returns whether all of it could be
/// written so.
fn flatten(prefix: &str, table: &DeTable<'_>, out: &mut Vec<(String, String)>) -> bool {
    table.iter().all(|(name, value)| {
        let name = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&format!("{name}."), inner, out),
            value => match raw(value) {
                Raw::Text(text) | Raw::Bare(text) => {
                    out.push((name, text));
                    true
                }
                Raw::List(_) | Raw::Table(_) | Raw::Other(_) => false,
            },
        }
    })
}

/// Names the known name nearest to `name`, or says where all of them are listed.
fn suggestion<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let likeness = |candidate: &str| {
        if last(candidate) == last(name) {
            1.0
        } else {
            strsim::jaro_winkler(candidate, name)
        }
    };
    let nearest = known
        .map(|candidate| (likeness(candidate), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= SIMILAR);
    match nearest {
        Some((_, candidate)) => format!("did you mean {candidate}?"),
        None => "`spoa-agent man` lists every key".to_owned(),
    }
}

// ---------------------------------------------------------------------------------------------
// From written to meant

/// What was made of a configuration that may be wrong. Only `check` looks at one that is, to say at
/// once what is wrong around it.
#[derive(Debug)]
pub(crate) struct Examined {
    /// Where a value was refused, its default stands in for it.
    pub(crate) config: Config,
    pub(crate) problems: Vec<Problem>,
}

/// Reads values one by one and collects what is wrong with them.
pub(super) struct Reader {
    written: Written,
    /// Keys whose value stands in for a refused one.
    refused: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(written: Written) -> Self {
        Self {
            written,
            refused: Vec::new(),
        }
    }

    /// Reads one value. A refused one is noted, and the default stands in for it until
    /// somebody looks at the problems.
    pub(super) fn read<K: Kind>(&mut self, path: &'static str, default: &str, kind: &K) -> K::Value
    where
        K::Value: Default,
    {
        let default = Value {
            origin: Origin::Default,
            raw: Raw::Text(default.to_owned()),
        };
        let value = self.written.values.get(path).unwrap_or(&default);
        match kind.read(&value.raw) {
            Ok(meant) => meant,
            Err(fault) => {
                let problem = Problem {
                    origin: value.origin.clone(),
                    key: path.to_owned(),
                    value: (!fault.is_secret).then(|| value.raw.to_string()),
                    why: fault.why,
                    way_out: fault.way_out,
                };
                self.written.problems.push(problem);
                self.refused.push(path);
                kind.read(&default.raw).unwrap_or_default()
            }
        }
    }

    /// Notes that `path` does not go together with the keys in `others`, unless one of them was
    /// refused already. The problem is laid at the door of the first of them that somebody wrote.
    pub(super) fn disagree(
        &mut self,
        path: &'static str,
        others: &[&'static str],
        why: String,
        way_out: &str,
    ) {
        let mut involved = vec![path];
        involved.extend(others);
        if involved.iter().any(|path| self.refused.contains(path)) {
            return;
        }
        let written = involved
            .iter()
            .find_map(|path| Some((*path, self.written.values.get(path)?)));
        let (key, origin, value) = match written {
            Some((key, value)) => (key, value.origin.clone(), Some(value.raw.to_string())),
            None => (path, Origin::Default, None),
        };
        let way_out = way_out.to_owned();
        self.written.problems.push(Problem {
            origin,
            key: key.to_owned(),
            value,
            why,
            way_out,
        });
    }

    pub(super) fn finish(self, config: Config) -> Examined {
        let mut problems = self.written.problems;
        problems.sort_by_key(|problem| problem.origin.place());
        Examined { config, problems }
    }
}

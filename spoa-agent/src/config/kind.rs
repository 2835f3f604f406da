//! Kinds of values: how a text is read, what it may be, and how it is shown.
//!
//! A kind knows nothing of files or flags; it turns one written value into one meant value or says
//! what is wrong with it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use shadow::{FieldName, FieldValue, HostHeader, Target, TargetError};

/// A value as written, before its kind has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A string: a quoted TOML string, an environment variable, a flag.
    Text(String),
    /// A TOML number or boolean, as written.
    Bare(String),
    /// A TOML array, or a repeated flag.
    List(Vec<String>),
    /// A TOML table of names and values; the names of tables in it stand before theirs, with dots.
    Table(Vec<(String, String)>),
    /// Something that no key takes, such as a date; holds what it is.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Bare(text) => out.write_str(text),
            Self::List(items) => out.write_str(&items.join(",")),
            Self::Table(_) => out.write_str("a table"),
            Self::Other(what) => out.write_str(what),
        }
    }
}

impl Raw {
    /// A string and nothing else: `dir = 5` is a mistake, not the path "5".
    pub(super) fn text(&self, wanted: &str) -> Result<&str, Fault> {
        match self {
            Self::Text(text) => Ok(text.trim()),
            Self::Bare(_) => Err(Fault::new(
                format!("is not {wanted}"),
                "put the value in quotes",
            )),
            Self::List(_) => Err(Fault::new("is a list", format!("write {wanted}"))),
            Self::Table(_) => Err(Fault::new("is a table", format!("write {wanted}"))),
            Self::Other(what) => Err(Fault::new(format!("is {what}"), format!("write {wanted}"))),
        }
    }

    /// A number or a boolean, quoted or not: the environment and flags know only text.
    fn scalar(&self, wanted: &str) -> Result<&str, Fault> {
        match self {
            Self::Bare(text) => Ok(text.trim()),
            other => other.text(wanted),
        }
    }

    /// A list: a TOML array, or text with commas between the items.
    pub(super) fn items(&self, wanted: &str) -> Result<Vec<&str>, Fault> {
        match self {
            Self::List(items) => Ok(items.iter().map(|item| item.trim()).collect()),
            other => {
                let text = other.text(wanted)?;
                Ok(text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .collect())
            }
        }
    }
}

/// Why a value is refused, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) why: String,
    pub(crate) way_out: String,
    /// The value may hold a secret, so no message repeats it.
    pub(crate) is_secret: bool,
}

impl Fault {
    pub(crate) fn new(why: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            way_out: way_out.into(),
            is_secret: false,
        }
    }
}

/// How a value looks in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In quotes.
    Text,
    /// Without quotes.
    Bare,
    /// An array of strings.
    List,
    /// A table of strings.
    Table,
}

/// Reads values of one kind.
pub(crate) trait Kind: Describe {
    type Value;

    fn read(&self, raw: &Raw) -> Result<Self::Value, Fault>;
}

/// What the manual says about a kind.
pub(crate) trait Describe: fmt::Debug + Sync {
    fn shape(&self) -> Shape;

    /// The placeholder in `--help`, such as `SIZE`.
    fn placeholder(&self) -> &'static str;

    /// What the value may be: its unit, its range, its words.
    fn accepts(&self) -> String;

    /// The words to choose from, when there is a fixed set of them.
    fn words(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

// ---------------------------------------------------------------------------------------------
// Sizes

/// A number of bytes that lives in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

/// A number of bytes on disk; 0 means never when `or_never`.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) min: u64,
}

/// A number of bytes on disk, or 0 for never.
#[derive(Debug)]
pub(crate) struct DiskOrNever {
    pub(crate) min: u64,
}

const SIZE_WANTED: &str = "a size such as 64MiB";

const SIZE_UNITS: &[(&str, u64)] = &[
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

impl Kind for Memory {
    type Value = usize;

    fn read(&self, raw: &Raw) -> Result<usize, Fault> {
        let bytes = size(raw.scalar(SIZE_WANTED)?)?;
        let fits = usize::try_from(bytes)
            .ok()
            .filter(|bytes| (self.min..=self.max).contains(bytes));
        fits.ok_or_else(|| {
            Fault::new(
                format!("is {}", beyond(bytes < self.min as u64)),
                format!("write {}", self.accepts()),
            )
        })
    }
}

impl Describe for Memory {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "SIZE"
    }

    fn accepts(&self) -> String {
        let (min, max) = (show_size(self.min as u64), show_size(self.max as u64));
        format!("a size in bytes from {min} to {max}, such as 64MiB, 1GB or 1048576")
    }
}

impl Kind for Disk {
    type Value = u64;

    fn read(&self, raw: &Raw) -> Result<u64, Fault> {
        let bytes = size(raw.scalar(SIZE_WANTED)?)?;
        if bytes < self.min {
            return Err(Fault::new(
                "is too small",
                format!("write {}", self.accepts()),
            ));
        }
        Ok(bytes)
    }
}

impl Describe for Disk {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "SIZE"
    }

    fn accepts(&self) -> String {
        format!(
            "a size in bytes of at least {}, such as 128MiB or 10GB",
            show_size(self.min)
        )
    }
}

impl Kind for DiskOrNever {
    type Value = Option<u64>;

    fn read(&self, raw: &Raw) -> Result<Option<u64>, Fault> {
        match size(raw.scalar(SIZE_WANTED)?)? {
            0 => Ok(None),
            bytes if bytes < self.min => Err(Fault::new(
                "is too small",
                format!("write {}", self.accepts()),
            )),
            bytes => Ok(Some(bytes)),
        }
    }
}

impl Describe for DiskOrNever {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "SIZE"
    }

    fn accepts(&self) -> String {
        format!(
            "a size in bytes of at least {}, or 0 for never",
            show_size(self.min)
        )
    }
}

pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    let not_a_size = || {
        Fault::new(
            "is not a size",
            "write bytes with a unit, such as 64MiB, 1GB or 512KiB",
        )
    };
    let (digits, unit) = split_number(text).ok_or_else(not_a_size)?;
    let number: u64 = digits
        .parse()
        .map_err(|_too_long| Fault::new("is too big", "write fewer digits"))?;
    let unit = unit.to_ascii_lowercase();
    if let "k" | "m" | "g" | "t" = unit.as_str() {
        let unit = unit.to_ascii_uppercase();
        return Err(Fault::new(
            "has an ambiguous unit",
            format!("write {number}{unit}iB (powers of 1024) or {number}{unit}B (powers of 1000)"),
        ));
    }
    let factor = match unit.as_str() {
        "" => 1,
        unit => {
            let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
            known.map(|(_, factor)| *factor).ok_or_else(not_a_size)?
        }
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| Fault::new("is too big", "the most is 16777215TiB"))
}

/// Shows a number of bytes in the largest binary unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        if bytes >> shift != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Cuts `64MiB` into `64` and `MiB`.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    (!digits.is_empty()).then_some((digits, unit.trim_start()))
}

fn beyond(too_small: bool) -> &'static str {
    if too_small { "too small" } else { "too big" }
}

// ---------------------------------------------------------------------------------------------
// Durations

/// A duration between two bounds.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

/// A duration, or 0 for never.
#[derive(Debug)]
pub(crate) struct SpanOrNever {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

const SPAN_WANTED: &str = "a duration such as 5s";

const SPAN_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl Kind for Span {
    type Value = Duration;

    fn read(&self, raw: &Raw) -> Result<Duration, Fault> {
        let span = duration(raw.scalar(SPAN_WANTED)?)?;
        if (self.min..=self.max).contains(&span) {
            return Ok(span);
        }
        Err(Fault::new(
            format!(
                "is {}",
                if span < self.min {
                    "too short"
                } else {
                    "too long"
                }
            ),
            format!("write {}", self.accepts()),
        ))
    }
}

impl Describe for Span {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "DURATION"
    }

    fn accepts(&self) -> String {
        let (min, max) = (show_duration(self.min), show_duration(self.max));
        format!("a duration from {min} to {max}, such as 1500ms, 5s, 10m or 1h")
    }
}

impl Kind for SpanOrNever {
    type Value = Option<Duration>;

    fn read(&self, raw: &Raw) -> Result<Option<Duration>, Fault> {
        let span = duration(raw.scalar(SPAN_WANTED)?)?;
        if span.is_zero() {
            return Ok(None);
        }
        Span {
            min: self.min,
            max: self.max,
        }
        .read(raw)
        .map(Some)
    }
}

impl Describe for SpanOrNever {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "DURATION"
    }

    fn accepts(&self) -> String {
        let (min, max) = (show_duration(self.min), show_duration(self.max));
        format!("a duration from {min} to {max}, such as 12h or 1d, or 0 for never")
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, Fault> {
    let not_a_duration = || {
        Fault::new(
            "is not a duration",
            "write a whole number with a unit, such as 1500ms, 5s, 10m or 1h",
        )
    };
    let (digits, unit) = split_number(text).ok_or_else(not_a_duration)?;
    let number: u64 = digits
        .parse()
        .map_err(|_too_long| Fault::new("is too long", "write fewer digits"))?;
    let factor = match unit {
        "" if number == 0 => 1,
        "" => {
            return Err(Fault::new(
                "has no unit",
                format!("write {number}s or {number}ms"),
            ));
        }
        unit => {
            let known = SPAN_UNITS.iter().find(|(name, _)| *name == unit);
            known
                .map(|(_, factor)| *factor)
                .ok_or_else(not_a_duration)?
        }
    };
    let millis = number.checked_mul(factor);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| Fault::new("is too long", "write fewer digits"))
}

/// Shows a duration in the largest unit that divides it, down to milliseconds.
#[must_use]
pub fn show_duration(span: Duration) -> String {
    let millis = span.as_millis();
    let units: [(&str, u128); 4] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    for (unit, factor) in units {
        if millis >= factor && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    format!("{millis}ms")
}

// ---------------------------------------------------------------------------------------------
// Numbers, switches, words

/// A whole number.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

/// Yes or no.
#[derive(Debug)]
pub(crate) struct Switch;

/// One of a few words.
#[derive(Debug)]
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

/// A file mode in octal.
#[derive(Debug)]
pub(crate) struct Mode;

impl Kind for Count {
    type Value = usize;

    fn read(&self, raw: &Raw) -> Result<usize, Fault> {
        let text = raw.scalar("a number")?;
        let number: u64 = text.parse().map_err(|_not_a_number| {
            Fault::new("is not a whole number", format!("write {}", self.accepts()))
        })?;
        let fits = usize::try_from(number)
            .ok()
            .filter(|number| (self.min..=self.max).contains(number));
        fits.ok_or_else(|| {
            Fault::new(
                format!("is {}", beyond(number < self.min as u64)),
                format!("write {}", self.accepts()),
            )
        })
    }
}

impl Describe for Count {
    fn shape(&self) -> Shape {
        Shape::Bare
    }

    fn placeholder(&self) -> &'static str {
        "NUMBER"
    }

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

impl Kind for Switch {
    type Value = bool;

    fn read(&self, raw: &Raw) -> Result<bool, Fault> {
        match raw.scalar("true or false")? {
            "true" => Ok(true),
            "false" => Ok(false),
            _other => Err(Fault::new(
                "is neither true nor false",
                "write true or false",
            )),
        }
    }
}

impl Describe for Switch {
    fn shape(&self) -> Shape {
        Shape::Bare
    }

    fn placeholder(&self) -> &'static str {
        "BOOL"
    }

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }

    fn words(&self) -> Vec<&'static str> {
        vec!["true", "false"]
    }
}

impl<T: Copy + fmt::Debug + Sync> Kind for Choice<T> {
    type Value = T;

    fn read(&self, raw: &Raw) -> Result<T, Fault> {
        let text = raw.text("a word")?;
        let known = self.0.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value).ok_or_else(|| {
            Fault::new(
                "is not one of the choices",
                format!("write {}", self.accepts()),
            )
        })
    }
}

impl<T: Copy + fmt::Debug + Sync> Describe for Choice<T> {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "WORD"
    }

    fn accepts(&self) -> String {
        self.words().join(" or ")
    }

    fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|(word, _)| *word).collect()
    }
}

impl Kind for Mode {
    type Value = u32;

    fn read(&self, raw: &Raw) -> Result<u32, Fault> {
        let text = raw.text("a file mode in octal")?;
        let mode = u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777);
        mode.ok_or_else(|| Fault::new("is not a file mode", format!("write {}", self.accepts())))
    }
}

impl Describe for Mode {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "MODE"
    }

    fn accepts(&self) -> String {
        "a file mode in octal from 0000 to 0777".to_owned()
    }
}

/// What `shadow.credentials_file` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialsKind {
    /// There is none.
    #[default]
    None,
    /// A user and a password.
    Basic,
    /// An API key of the cluster.
    ApiKey,
    /// A bearer token.
    Bearer,
    /// Keys for AWS Signature Version 4.
    SigV4,
}

/// How what is ambiguous is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolveBy {
    /// It is not.
    #[default]
    Off,
    /// The documents are read from the primary.
    Primary,
}

/// What an ACK to HAProxy waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckLevel {
    /// The half is in the agent's memory.
    Append,
    /// The half was handed to the kernel.
    #[default]
    Write,
    /// The half is on disk.
    Sync,
}

/// What happens when the journal's disk budget is used up and a follower still needs the oldest
/// segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Capture stops; HAProxy is told that the agent is down.
    #[default]
    Stop,
    /// The oldest segment goes; the followers that had not read it lose its halves, counted.
    DropUnread,
}

/// Where a follower begins that has no cursor yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// With what is captured from now on.
    #[default]
    Now,
    /// With the oldest record in the journal.
    Oldest,
}

/// Which ids documents get on the shadow that a client writes without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    /// Those that the primary chose.
    #[default]
    Pin,
    /// The shadow's own.
    Generate,
}

/// What becomes of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairsTo {
    /// None are made.
    #[default]
    Off,
    /// They are records of the journal.
    Journal,
}

/// What happens when the dead-letter file is as long as it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LetterWhenFull {
    /// New letters are refused, counted and logged.
    #[default]
    Refuse,
    /// The oldest letters go, counted and logged.
    DropOldest,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Always text.
    Text,
    /// Always JSON, one object per line.
    Json,
}

// ---------------------------------------------------------------------------------------------
// Addresses and paths

/// Where the agent listens for HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `host:port`; an IPv6 address stands in brackets. Port 0 lets the system choose.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => out.write_str(address),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// One or more listen addresses.
#[derive(Debug)]
pub(crate) struct Listeners;

/// `host:port`, or nothing.
#[derive(Debug)]
pub(crate) struct OptionalAddress;

/// Longest path of a Unix socket in bytes: `sun_path` of Linux is 108 with its final zero.
const UNIX_PATH_MAX: usize = 107;

impl Kind for Listeners {
    type Value = Vec<Listen>;

    fn read(&self, raw: &Raw) -> Result<Vec<Listen>, Fault> {
        let items = raw.items("a list of addresses")?;
        if items.is_empty() {
            return Err(Fault::new("is empty", format!("write {}", self.accepts())));
        }
        let mut listeners = Vec::with_capacity(items.len());
        for item in items {
            let listen = listen(item)?;
            if listeners.contains(&listen) && !item.ends_with(":0") {
                return Err(Fault::new(
                    format!("names {item} twice"),
                    "name each address once",
                ));
            }
            listeners.push(listen);
        }
        Ok(listeners)
    }
}

impl Describe for Listeners {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn placeholder(&self) -> &'static str {
        "ADDRESS"
    }

    fn accepts(&self) -> String {
        "one or more of host:port, [ipv6]:port and unix:/path".to_owned()
    }
}

fn listen(text: &str) -> Result<Listen, Fault> {
    let Some(path) = text.strip_prefix("unix:") else {
        return address(text).map(Listen::Tcp);
    };
    if !path.starts_with('/') {
        return Err(Fault::new(
            format!("has the relative path {text}"),
            "write unix:/path",
        ));
    }
    if path.len() > UNIX_PATH_MAX {
        return Err(Fault::new(
            format!(
                "has a socket path of {} bytes; the system takes {UNIX_PATH_MAX}",
                path.len()
            ),
            "choose a shorter path",
        ));
    }
    Ok(Listen::Unix(PathBuf::from(path)))
}

fn address(text: &str) -> Result<String, Fault> {
    let way_out = "write host:port, such as 127.0.0.1:12345 or [::1]:12345";
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(Fault::new(format!("has no port in {text:?}"), way_out));
    };
    if port.parse::<u16>().is_err() {
        return Err(Fault::new(format!("has the bad port {port:?}"), way_out));
    }
    check_host(host).map_err(|why| Fault::new(why, way_out))?;
    Ok(text.to_owned())
}

pub(super) fn check_host(host: &str) -> Result<(), String> {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner {
        let is_ipv6 = inner.parse::<std::net::Ipv6Addr>().is_ok();
        return if is_ipv6 {
            Ok(())
        } else {
            Err(format!("has the bad IPv6 address {host:?}"))
        };
    }
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match host {
        "" => Err("has no host".to_owned()),
        host if host.chars().all(is_name_char) => Ok(()),
        host => Err(format!("has the bad host {host:?}")),
    }
}

impl Kind for OptionalAddress {
    type Value = Option<String>;

    fn read(&self, raw: &Raw) -> Result<Option<String>, Fault> {
        match raw.text("an address")? {
            "" => Ok(None),
            text => address(text).map(Some),
        }
    }
}

impl Describe for OptionalAddress {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "ADDRESS"
    }

    fn accepts(&self) -> String {
        "host:port or [ipv6]:port; empty for off".to_owned()
    }
}

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory;

/// A file to read, or nothing.
#[derive(Debug)]
pub(crate) struct OptionalFile;

/// Letters, digits and hyphens, or nothing.
#[derive(Debug)]
pub(crate) struct OptionalWord;

impl Kind for OptionalWord {
    type Value = Option<String>;

    fn read(&self, raw: &Raw) -> Result<Option<String>, Fault> {
        let text = raw.text("a word")?;
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Fault::new(
                "is not one word",
                format!("write {}", self.accepts()),
            ));
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl Describe for OptionalWord {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "WORD"
    }

    fn accepts(&self) -> String {
        "letters, digits and hyphens; empty for none".to_owned()
    }
}

/// A file to write, `-` for the standard output, or nothing.
#[derive(Debug)]
pub(crate) struct OptionalOutput;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => out.write_str("-"),
            Self::File(path) => write!(out, "{}", path.display()),
        }
    }
}

impl Kind for Directory {
    type Value = PathBuf;

    fn read(&self, raw: &Raw) -> Result<PathBuf, Fault> {
        match raw.text("a path")? {
            "" => Err(Fault::new("is empty", "write the path of a directory")),
            text => Ok(PathBuf::from(text)),
        }
    }
}

impl Describe for Directory {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "DIR"
    }

    fn accepts(&self) -> String {
        "the path of a directory".to_owned()
    }
}

impl Kind for OptionalFile {
    type Value = Option<PathBuf>;

    fn read(&self, raw: &Raw) -> Result<Option<PathBuf>, Fault> {
        let text = raw.text("a path")?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
}

impl Describe for OptionalFile {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "FILE"
    }

    fn accepts(&self) -> String {
        "the path of a file; empty for none".to_owned()
    }
}

impl Kind for OptionalOutput {
    type Value = Option<Output>;

    fn read(&self, raw: &Raw) -> Result<Option<Output>, Fault> {
        match raw.text("a path")? {
            "" => Ok(None),
            "-" => Ok(Some(Output::Stdout)),
            text if text.ends_with('/') => Err(Fault::new(
                "is a directory",
                "write the path of a file, or - for the standard output",
            )),
            text => Ok(Some(Output::File(PathBuf::from(text)))),
        }
    }
}

impl Describe for OptionalOutput {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "FILE"
    }

    fn accepts(&self) -> String {
        "the path of a file, - for the standard output; empty for off".to_owned()
    }
}

/// `http://host[:port]` or `https://host[:port]`, or nothing.
#[derive(Debug)]
pub(crate) struct OptionalUrl;

impl Kind for OptionalUrl {
    type Value = Option<Target>;

    fn read(&self, raw: &Raw) -> Result<Option<Target>, Fault> {
        let text = raw.text("a URL")?;
        if text.is_empty() {
            return Ok(None);
        }
        Target::parse(text).map(Some).map_err(|error| match error {
            TargetError::UserInfo => Fault {
                is_secret: true,
                ..Fault::new(
                    "holds a user name or password",
                    "write them to a file and name it in shadow.authorization_file",
                )
            },
            TargetError::Path { rest, .. } => Fault::new(
                format!("goes on with {rest:?}"),
                "leave that out: the shadow gets each target as the primary got it",
            ),
            _other => Fault::new(
                "is not a URL of a server",
                format!("write {}", self.accepts()),
            ),
        })
    }
}

impl Describe for OptionalUrl {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "URL"
    }

    fn accepts(&self) -> String {
        "http://host[:port] or https://host[:port]; empty for off".to_owned()
    }
}

// ---------------------------------------------------------------------------------------------
// Headers, log directives

/// A list of header names; they are lower-cased.
#[derive(Debug)]
pub(crate) struct HeaderNames;

/// The header that carries the id to the shadow.
#[derive(Debug)]
pub(crate) struct IdHeader;

/// What the shadow's `Host` header says.
#[derive(Debug)]
pub(crate) struct HostChoice;

impl Kind for HeaderNames {
    type Value = Vec<String>;

    fn read(&self, raw: &Raw) -> Result<Vec<String>, Fault> {
        raw.items("a list of header names")?
            .into_iter()
            .map(header_name)
            .collect()
    }
}

impl Describe for HeaderNames {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn placeholder(&self) -> &'static str {
        "NAMES"
    }

    fn accepts(&self) -> String {
        "a list of header names in any case".to_owned()
    }
}

impl Kind for IdHeader {
    type Value = String;

    fn read(&self, raw: &Raw) -> Result<String, Fault> {
        let name = header_name(raw.text("a header name")?)?;
        if name == "authorization" || FieldName::parse(&name).is_err() {
            return Err(Fault::new(
                "is a header with a meaning of its own",
                "write another name, such as x-capture-id",
            ));
        }
        Ok(name)
    }
}

impl Describe for IdHeader {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "NAME"
    }

    fn accepts(&self) -> String {
        "a header name in any case".to_owned()
    }
}

/// Reads a field name: a token of RFC 9110, section 5.6.2.
fn header_name(text: &str) -> Result<String, Fault> {
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(is_token_char) {
        return Err(Fault::new(
            format!("has {text:?}, which is not a header name"),
            "write names such as x-api-key, without the colon",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

impl Kind for HostChoice {
    type Value = HostHeader;

    fn read(&self, raw: &Raw) -> Result<HostHeader, Fault> {
        let text = raw.text("a host")?;
        let is_host_char = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        match text {
            "keep" => Ok(HostHeader::Captured),
            "target" => Ok(HostHeader::Target),
            fixed => FieldValue::parse(fixed)
                .ok()
                .filter(|_| fixed.chars().all(is_host_char))
                .map(HostHeader::Fixed)
                .ok_or_else(|| Fault::new("is not a host", format!("write {}", self.accepts()))),
        }
    }
}

impl Describe for HostChoice {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "HOST"
    }

    fn accepts(&self) -> String {
        "keep, target, or the value to send, such as search.example:9200".to_owned()
    }
}

/// A log level, or directives for parts of the program.
#[derive(Debug)]
pub(crate) struct LogDirectives;

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

impl Kind for LogDirectives {
    type Value = String;

    /// Stricter than the filter itself, which takes any word for the name of a module: `inof` would
    /// silence everything.
    fn read(&self, raw: &Raw) -> Result<String, Fault> {
        let text = raw.text("a log level")?;
        if text.is_empty() {
            return Err(Fault::new("is empty", format!("write {}", self.accepts())));
        }
        for directive in text.split(',') {
            let level = directive
                .rsplit_once('=')
                .map_or(directive, |(_, level)| level);
            if !LEVELS.contains(&level.trim()) {
                return Err(Fault::new(
                    format!("has {level:?}, which is not a level"),
                    format!("write {}", self.accepts()),
                ));
            }
        }
        Ok(text.to_owned())
    }
}

impl Describe for LogDirectives {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "LEVEL"
    }

    fn accepts(&self) -> String {
        format!(
            "{}, or directives such as info,spoa_agent::server=debug",
            LEVELS.join(", ")
        )
    }
}

//! From the text of a rule file to [`Rules`], or to everything that is wrong with it.

use std::ops::Range;

use bytes::Bytes;
use exchange::operation::Access;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::condition::{Status, When};
use super::glob::Glob;
use super::headers::{HeaderRules, KEPT};
use super::path;
use super::rename::Rename;
use super::sample::{By, Share};
use super::{DEFAULT, Rule, RuleError, RuleErrors, Rules, Then};
use crate::{FieldError, FieldName, FieldValue};

/// Names further apart than this are no misspelling of each other (Jaro-Winkler, 1 is equal).
const SIMILAR: f64 = 0.8;

type Value<'i> = Spanned<DeValue<'i>>;

pub(super) fn parse(text: &str, apis: &[&str]) -> Result<Rules, RuleErrors> {
    let (document, faults) = DeTable::parse_recoverable(text);
    let mut parser = Parser {
        text,
        apis,
        errors: Vec::new(),
    };
    for fault in faults {
        let span = fault.span().unwrap_or_default();
        parser.error(&span, "", None, fault.message(), "");
    }
    let rules = parser.file(document.get_ref());
    let mut errors = parser.errors;
    if errors.is_empty() {
        return Ok(rules);
    }
    errors.sort_by_key(|error| error.line);
    Err(RuleErrors(errors))
}

struct Parser<'t> {
    text: &'t str,
    apis: &'t [&'t str],
    errors: Vec<RuleError>,
}

impl Parser<'_> {
    fn file(&mut self, document: &DeTable<'_>) -> Rules {
        let mut rules = Rules::default();
        for (key, value) in in_order(document) {
            match key.get_ref().as_ref() {
                "default" => rules.default = self.then("default", value).unwrap_or_default(),
                "rule" => rules.rules = self.rules(value),
                "headers" => rules.headers = self.headers(value),
                "rename" => rules.rename = self.rename(value),
                _ => self.unknown("", key, &["default", "rule", "headers", "rename"]),
            }
        }
        rules
    }

    // -----------------------------------------------------------------------------------------
    // Rules

    fn rules(&mut self, value: &Value<'_>) -> Vec<Rule> {
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong("rule", value, "is not a list of rules", "write [[rule]]");
            return Vec::new();
        };
        let mut rules: Vec<(usize, Rule)> = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                self.wrong("rule", item, "is not a table", "write [[rule]]");
                continue;
            };
            let line = self.line(&item.span());
            let Some(rule) = self.rule(number + 1, &item.span(), table) else {
                continue;
            };
            let twin = rules.iter().find(|(_, other)| other.name == rule.name);
            if let Some((other, _)) = twin {
                let why = format!("is also the name of the rule in line {other}");
                let span = table.get("name").map_or_else(|| item.span(), Spanned::span);
                self.error(
                    &span,
                    "rule.name",
                    Some(rule.name.clone()),
                    &why,
                    "name them apart",
                );
            }
            rules.push((line, rule));
        }
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn rule(&mut self, number: usize, span: &Range<usize>, table: &DeTable<'_>) -> Option<Rule> {
        let mut name = format!("rule {number}");
        let mut when = When::default();
        let mut then = None;
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "name" => name = self.name(value).unwrap_or(name),
                "when" => when = self.when(value),
                "then" => then = Some(self.then("rule.then", value)),
                word => {
                    let known = ["name", "when", "then"];
                    let condition = CONDITIONS.iter().find(|it| **it == word);
                    match condition {
                        Some(_) => self.wrong(
                            &format!("rule.{word}"),
                            value,
                            "is a condition",
                            &format!("write it as when = {{ {word} = ... }}"),
                        ),
                        None => self.unknown("rule.", key, &known),
                    }
                }
            }
        }
        let Some(then) = then else {
            let way_out = "add then = \"allow\", \"deny\" or { sample = \"10%\" }";
            self.error(span, "rule", Some(name), "does not say what to do", way_out);
            return None;
        };
        Some(Rule {
            name,
            when,
            then: then?,
        })
    }

    fn name(&mut self, value: &Value<'_>) -> Option<String> {
        let text = self.text("rule.name", value, "a name in quotes")?;
        if text.is_empty() || text == DEFAULT || text.chars().any(char::is_control) {
            let why = "is not a name for a rule";
            self.wrong(
                "rule.name",
                value,
                why,
                "write a few words that say what the rule is for",
            );
            return None;
        }
        Some(text)
    }

    fn then(&mut self, path: &str, value: &Value<'_>) -> Option<Then> {
        const WAY_OUT: &str = "write \"allow\", \"deny\" or { sample = \"10%\", by = \"client\" }";
        match value.get_ref() {
            DeValue::String(word) if word == "allow" => Some(Then::Allow),
            DeValue::String(word) if word == "deny" => Some(Then::Deny),
            DeValue::Table(table) => self.sample(path, &value.span(), table),
            DeValue::String(word) => {
                let way_out =
                    did_you_mean(word, &["allow", "deny"]).unwrap_or_else(|| WAY_OUT.to_owned());
                self.wrong(path, value, "is not something that a rule can do", &way_out);
                None
            }
            _ => {
                self.wrong(path, value, "is not something that a rule can do", WAY_OUT);
                None
            }
        }
    }

    fn sample(&mut self, path: &str, span: &Range<usize>, table: &DeTable<'_>) -> Option<Then> {
        let (mut share, mut by) = (None, Some(By::Id));
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "sample" => share = Some(self.share(&format!("{path}.sample"), value)),
                "by" => by = self.by(&format!("{path}.by"), value),
                _ => self.unknown(&format!("{path}."), key, &["sample", "by"]),
            }
        }
        let Some(share) = share else {
            let way_out = "add sample = \"10%\"";
            self.error(
                span,
                path,
                None,
                "does not say how large the sample is",
                way_out,
            );
            return None;
        };
        Some(Then::Sample {
            share: share?,
            by: by?,
        })
    }

    fn share(&mut self, path: &str, value: &Value<'_>) -> Option<Share> {
        let share = value.get_ref().as_str().and_then(Share::parse);
        if share.is_none() {
            let way_out = "write a percentage in quotes from \"0%\" to \"100%\", such as \"0.5%\"";
            self.wrong(path, value, "is not a share", way_out);
        }
        share
    }

    fn by(&mut self, path: &str, value: &Value<'_>) -> Option<By> {
        let text = self.text(path, value, "a word in quotes")?;
        if let Some(name) = text.strip_prefix("header:") {
            let name = name.trim();
            if !self.is_field_name(path, value, name) {
                return None;
            }
            return Some(By::Header(name.to_ascii_lowercase()));
        }
        let by = match text.as_str() {
            "id" => By::Id,
            "client" => By::Client,
            "index" => By::Index,
            "document" => By::Document,
            other => {
                let listed = format!("write one of {}", By::WORDS.join(", "));
                let way_out = did_you_mean(other, By::WORDS).unwrap_or(listed);
                self.wrong(path, value, "is not a key of a sample", &way_out);
                return None;
            }
        };
        Some(by)
    }

    // -----------------------------------------------------------------------------------------
    // Conditions

    fn when(&mut self, value: &Value<'_>) -> When {
        let mut when = When::default();
        let DeValue::Table(table) = value.get_ref() else {
            let way_out =
                "write when = { path = \"/_cat/*\" }, or leave it out to match everything";
            self.wrong("rule.when", value, "is not a table", way_out);
            return when;
        };
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "method" => when.method = self.list("method", value, Self::method),
                "path" => when.path = self.list("path", value, Self::path),
                "api" => when.api = self.list("api", value, Self::api),
                "index" => when.index = self.list("index", value, Self::index),
                "header" => when.header = self.header(value),
                "status" => when.status = self.list("status", value, Self::status),
                "access" => when.access = self.access(value),
                _ => self.unknown("rule.when.", key, CONDITIONS),
            }
        }
        when
    }

    /// One value or a list of them.
    fn list<T>(
        &mut self,
        name: &str,
        value: &Value<'_>,
        one: impl Fn(&mut Self, &str, &Value<'_>) -> Option<T>,
    ) -> Vec<T> {
        let path = format!("rule.when.{name}");
        let DeValue::Array(items) = value.get_ref() else {
            return one(self, &path, value).into_iter().collect();
        };
        if items.is_empty() {
            let way_out = "leave the condition out, or write what it is to match";
            self.wrong(
                &path,
                value,
                "is an empty list, which matches nothing",
                way_out,
            );
        }
        items
            .iter()
            .filter_map(|item| one(self, &path, item))
            .collect()
    }

    fn method(&mut self, path: &str, value: &Value<'_>) -> Option<String> {
        let text = self.text(path, value, "a method in quotes")?;
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_uppercase()) {
            let upper = text.to_ascii_uppercase();
            self.wrong(
                path,
                value,
                "is not a method",
                &format!("did you mean {upper:?}?"),
            );
            return None;
        }
        Some(text)
    }

    fn path(&mut self, path: &str, value: &Value<'_>) -> Option<Glob> {
        let text = self.text(path, value, "a path in quotes")?;
        if !text.starts_with(['/', '*']) {
            let way_out = format!("paths begin with a slash: write \"/{text}\"");
            self.wrong(path, value, "is not a path", &way_out);
            return None;
        }
        if text.contains('?') {
            let way_out = "the query is not looked at; end the path before it";
            self.wrong(path, value, "holds a question mark", way_out);
            return None;
        }
        if text.starts_with('*') {
            return Some(Glob::new(text));
        }
        Some(Glob::new(path::normal(text.as_bytes())))
    }

    fn api(&mut self, path: &str, value: &Value<'_>) -> Option<Glob> {
        let text = self.text(path, value, "the name of an API in quotes")?;
        let glob = Glob::new(&text);
        let is_known =
            self.apis.is_empty() || self.apis.iter().any(|api| glob.covers(api.as_bytes()));
        if text.is_empty() || !is_known {
            const MANY: usize = 16;
            let mut listed = format!("write one of {}", self.apis.join(", "));
            if self.apis.len() > MANY {
                "write a name of the cluster's REST API, such as search or indices.create, or a pattern"
                    .clone_into(&mut listed);
            }
            let way_out = did_you_mean(&text, self.apis).unwrap_or(listed);
            self.wrong(path, value, "is no API that is known here", &way_out);
            return None;
        }
        Some(glob)
    }

    fn index(&mut self, path: &str, value: &Value<'_>) -> Option<Glob> {
        let text = self.text(path, value, "an index in quotes")?;
        if text.starts_with('-') {
            let way_out = "to except an index, write a rule for it before this one";
            self.wrong(path, value, "begins with a minus", way_out);
            return None;
        }
        if text.contains(',') {
            let way_out = "write a list: index = [\"a-*\", \"b-*\"]";
            self.wrong(path, value, "holds a comma", way_out);
            return None;
        }
        if text == "_all" {
            return Some(Glob::new("*"));
        }
        if text.is_empty() || text.starts_with('_') {
            self.wrong(
                path,
                value,
                "is no name of an index",
                "write a name or a pattern such as \"logs-*\"",
            );
            return None;
        }
        Some(Glob::new(text))
    }

    fn header(&mut self, value: &Value<'_>) -> Vec<(String, Vec<Glob>)> {
        const PATH: &str = "rule.when.header";
        let DeValue::Table(table) = value.get_ref() else {
            let way_out = "write header = { \"x-opaque-id\" = \"batch-*\" }";
            self.wrong(PATH, value, "is not a table of names and values", way_out);
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (name, value) in in_order(table) {
            if !self.is_field_name(PATH, value, name.get_ref()) {
                continue;
            }
            let of_name = format!("header.{}", name.get_ref());
            let values = self.list(&of_name, value, |parser, path, item| {
                parser
                    .text(path, item, "a value in quotes, such as \"batch-*\"")
                    .map(Glob::new)
            });
            headers.push((name.get_ref().to_ascii_lowercase(), values));
        }
        headers
    }

    fn status(&mut self, path: &str, value: &Value<'_>) -> Option<Status> {
        let status = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok().and_then(one_status),
            DeValue::String(text) => statuses(text),
            _ => None,
        };
        if status.is_none() {
            let way_out = "write a number such as 404, or \"4xx\", \"500-503\" or \"none\"";
            self.wrong(path, value, "is no status from 100 to 599", way_out);
        }
        status
    }

    fn access(&mut self, value: &Value<'_>) -> Option<Access> {
        const PATH: &str = "rule.when.access";
        match value.get_ref().as_str() {
            Some("read") => Some(Access::Read),
            Some("write") => Some(Access::Write),
            _ => {
                self.wrong(
                    PATH,
                    value,
                    "is neither of the two",
                    "write \"read\" or \"write\"",
                );
                None
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // Changes

    fn headers(&mut self, value: &Value<'_>) -> HeaderRules {
        let mut rules = HeaderRules::default();
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong("headers", value, "is not a table", "write [headers]");
            return rules;
        };
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "set" => rules.set = self.set(value),
                "remove" => rules.remove = self.remove(value),
                _ => self.unknown("headers.", key, &["set", "remove"]),
            }
        }
        rules
    }

    fn set(&mut self, value: &Value<'_>) -> Vec<(Bytes, Bytes)> {
        let DeValue::Table(table) = value.get_ref() else {
            let way_out = "write set = { \"x-shadow\" = \"1\" }";
            self.wrong(
                "headers.set",
                value,
                "is not a table of names and values",
                way_out,
            );
            return Vec::new();
        };
        let mut set = Vec::new();
        for (key, value) in in_order(table) {
            let name = key.get_ref();
            let path = format!("headers.set.{name}");
            let Some(text) = self.text(&path, value, "a value in quotes") else {
                continue;
            };
            if let Err(error) = FieldValue::parse(&text) {
                self.wrong(&path, value, &error.to_string(), "");
                continue;
            }
            if self.may_set(&path, key) {
                let name = name.to_ascii_lowercase();
                set.push((Bytes::from(name), Bytes::from(text.trim().to_owned())));
            }
        }
        set
    }

    /// The value of a credential is not repeated: it stands where it should not.
    fn may_set(&mut self, path: &str, key: &Spanned<std::borrow::Cow<'_, str>>) -> bool {
        let name = key.get_ref();
        if exchange::Credentials::default().cover(name.as_bytes()) {
            let way_out =
                "name a file of credentials in the configuration (shadow.credentials_file)";
            self.error(
                &key.span(),
                path,
                None,
                "is a credential, and this file is not secret",
                way_out,
            );
            return false;
        }
        match FieldName::parse(name) {
            Ok(_) => true,
            Err(FieldError::Computed(_)) if name.eq_ignore_ascii_case("host") => true,
            Err(error) => {
                self.error(&key.span(), path, None, &error.to_string(), "");
                false
            }
        }
    }

    fn remove(&mut self, value: &Value<'_>) -> Vec<Glob> {
        const PATH: &str = "headers.remove";
        let single;
        let items: &DeArray<'_> = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => {
                single = DeArray::from_iter([value.clone()]);
                &single
            }
        };
        let mut remove = Vec::new();
        for item in items {
            let Some(text) = self.text(PATH, item, "a name or pattern in quotes") else {
                continue;
            };
            if KEPT.iter().any(|kept| text.eq_ignore_ascii_case(kept)) {
                let why = "says how the body or the connection is to be read, and stays";
                self.wrong(PATH, item, why, "leave it out");
            } else if self.is_field_name(PATH, item, &text) {
                remove.push(Glob::lower(&text));
            }
        }
        remove
    }

    fn is_field_name(&mut self, path: &str, value: &Value<'_>, name: &str) -> bool {
        match FieldName::parse(name) {
            Ok(_) | Err(FieldError::Computed(_)) => true,
            Err(_) => {
                let why = format!("{name:?} is no header name");
                self.wrong(path, value, &why, "letters, digits and - are allowed");
                false
            }
        }
    }

    fn rename(&mut self, value: &Value<'_>) -> Rename {
        let mut rename = Rename::default();
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong("rename", value, "is not a table", "write [rename]");
            return rename;
        };
        for (key, value) in in_order(table) {
            let from = key.get_ref();
            let path = format!("rename.{from}");
            let Some(to) = self.text(&path, value, "a name in quotes") else {
                continue;
            };
            let way_out = "write names in lower case, such as \"logs-1\" or \"logs-*\"";
            if let Some(why) = not_an_index(from) {
                self.error(
                    &key.span(),
                    &path,
                    None,
                    &format!("the name {why}"),
                    way_out,
                );
            } else if let Some(why) = not_an_index(&to) {
                self.wrong(&path, value, &format!("the new name {why}"), way_out);
            } else if stars(from) != stars(&to) || stars(from) > 1 {
                let way_out = "write one on both sides, or none";
                let why = "the two names must have one * each, or none";
                self.wrong(&path, value, why, way_out);
            } else {
                rename.add(from.as_bytes(), to.as_bytes());
            }
        }
        rename
    }

    // -----------------------------------------------------------------------------------------
    // Mistakes

    fn text(&mut self, path: &str, value: &Value<'_>, wanted: &str) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(path, value, &format!("is not {wanted}"), "");
        }
        text
    }

    fn unknown(&mut self, before: &str, key: &Spanned<std::borrow::Cow<'_, str>>, known: &[&str]) {
        let listed = format!("known here: {}", known.join(", "));
        let way_out = did_you_mean(key.get_ref(), known).unwrap_or(listed);
        let path = format!("{before}{}", key.get_ref());
        self.error(&key.span(), &path, None, "unknown key", &way_out);
    }

    fn wrong(&mut self, path: &str, value: &Value<'_>, why: &str, way_out: &str) {
        let span = value.span();
        let written = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            _ => self.text.get(span.clone()).unwrap_or_default().to_owned(),
        };
        self.error(&span, path, Some(written), why, way_out);
    }

    fn error(
        &mut self,
        span: &Range<usize>,
        key: &str,
        value: Option<String>,
        why: &str,
        way_out: &str,
    ) {
        self.errors.push(RuleError {
            line: self.line(span),
            key: key.to_owned(),
            value,
            why: why.to_owned(),
            way_out: way_out.to_owned(),
        });
    }

    /// The line of a place in the text, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

const CONDITIONS: &[&str] = &[
    "method", "path", "api", "index", "header", "status", "access",
];

/// The entries as they stand in the file: a table keeps them by name.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(candidate, word), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

fn one_status(number: u16) -> Option<Status> {
    (100..=599)
        .contains(&number)
        .then_some(Status::Within(number..=number))
}

fn statuses(text: &str) -> Option<Status> {
    if text == "none" {
        return Some(Status::Missing);
    }
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(Status::Within(class * 100..=class * 100 + 99));
    }
    let number = |digits: &str| digits.trim().parse::<u16>().ok();
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (number(from)?, number(to)?);
    (100 <= from && from <= to && to <= 599).then_some(Status::Within(from..=to))
}

fn stars(name: &str) -> usize {
    name.bytes().filter(|byte| *byte == b'*').count()
}

/// Why no index can have the name (Elasticsearch's and OpenSearch's rule for creating one).
fn not_an_index(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.starts_with(['_', '-', '+']) {
        return Some("begins with _, - or +");
    }
    if name.chars().any(|c| c.is_uppercase()) {
        return Some("has an upper case letter");
    }
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || "\\/?\"<>|,#:".contains(c);
    name.contains(is_bad)
        .then_some("has a character that no index has")
}

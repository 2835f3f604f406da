//! Fills in the templates: `{{name}}` for a value, and lines `{{#name}}`, `{{^name}}` and
//! `{{/name}}` around lines that depend on a flag or repeat for a list. Also resolves HAProxy's
//! own `.if version_atleast()` when the version is known.
//!
//! The templates are part of this crate and not of its input, so nothing here can fail: a name
//! that no one gave a value for stays as it is, and the tests find it.

use std::collections::BTreeMap;

/// What a name in a template stands for.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    List(Vec<Values>),
}

/// The names of a template, or of one entry of a list in it.
pub(crate) type Values = BTreeMap<&'static str, Value>;

pub(crate) fn render(template: &str, values: &Values) -> String {
    let lines: Vec<&str> = template.lines().collect();
    let mut text = String::with_capacity(template.len() * 2);
    render_lines(&lines, &[values], &mut text);
    without_double_blanks(&text)
}

/// Keeps of each `.if version_atleast(X.Y)` block the half that a branch of HAProxy would read.
pub(crate) fn for_branch(text: &str, branch: (u16, u16)) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut reading = true;
    for line in text.lines() {
        if let Some(condition) = line.strip_prefix(".if ") {
            reading = holds(condition, branch);
        } else if line == ".else" {
            reading = !reading;
        } else if line == ".endif" {
            reading = true;
        } else if reading {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn holds(condition: &str, branch: (u16, u16)) -> bool {
    let (wanted, call) = match condition.strip_prefix('!') {
        Some(call) => (false, call),
        None => (true, condition),
    };
    let version = call
        .strip_prefix("version_atleast(")
        .and_then(|rest| rest.strip_suffix(')'));
    let least = version
        .and_then(|version| version.split_once('.'))
        .and_then(|(major, minor)| Some((major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?)));
    least.is_some_and(|least| (branch >= least) == wanted)
}

fn render_lines(lines: &[&str], scopes: &[&Values], text: &mut String) {
    let mut rest = lines;
    while let Some((line, after)) = rest.split_first() {
        rest = after;
        let Some((name, inverted)) = opening(line) else {
            render_line(line, scopes, text);
            continue;
        };
        let end = format!("{{{{/{name}}}}}");
        let length = after
            .iter()
            .position(|line| *line == end)
            .unwrap_or(after.len());
        let (block, tail) = after.split_at(length);
        rest = tail.split_first().map_or(tail, |(_end, tail)| tail);
        render_block(block, name, inverted, scopes, text);
    }
}

fn render_block(block: &[&str], name: &str, inverted: bool, scopes: &[&Values], text: &mut String) {
    match look_up(name, scopes) {
        Some(Value::List(entries)) => {
            for entry in entries {
                let inner: Vec<&Values> = scopes.iter().copied().chain([entry]).collect();
                render_lines(block, &inner, text);
            }
        }
        Some(Value::Flag(flag)) if *flag != inverted => render_lines(block, scopes, text),
        Some(Value::Text(_)) if !inverted => render_lines(block, scopes, text),
        _ => {}
    }
}

fn render_line(line: &str, scopes: &[&Values], text: &mut String) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            text.push_str("{{");
            rest = after;
            continue;
        };
        match look_up(name, scopes) {
            Some(Value::Text(value)) => text.push_str(value),
            _ => {
                text.push_str("{{");
                text.push_str(name);
                text.push_str("}}");
            }
        }
        rest = tail;
    }
    text.push_str(rest);
    text.push('\n');
}

fn look_up<'a>(name: &str, scopes: &[&'a Values]) -> Option<&'a Value> {
    scopes.iter().rev().find_map(|values| values.get(name))
}

/// The name in a line `{{#name}}` or `{{^name}}`, and whether it is the latter.
fn opening(line: &str) -> Option<(&str, bool)> {
    let inside = line.strip_prefix("{{")?.strip_suffix("}}")?;
    match inside.strip_prefix('#') {
        Some(name) => Some((name, false)),
        None => Some((inside.strip_prefix('^')?, true)),
    }
}

/// Where a block fell away, two empty lines meet; one is enough.
fn without_double_blanks(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut blank = false;
    for line in text.lines() {
        if blank && line.is_empty() {
            continue;
        }
        blank = line.is_empty();
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        let entry = |n: &str| Values::from([("n", Value::Text(n.to_owned()))]);
        Values::from([
            ("who", Value::Text("you".to_owned())),
            ("yes", Value::Flag(true)),
            ("no", Value::Flag(false)),
            ("all", Value::List(vec![entry("1"), entry("2")])),
        ])
    }

    #[test]
    fn a_name_becomes_its_value_and_an_unknown_one_stays() {
        assert_eq!(
            render("a {{who}} {{else}} {{", &values()),
            "a you {{else}} {{\n"
        );
    }

    #[test]
    fn a_value_is_not_looked_into_for_names() {
        let values = Values::from([
            ("a", Value::Text("{{b}}".to_owned())),
            ("b", Value::Flag(true)),
        ]);
        assert_eq!(render("{{a}}", &values), "{{b}}\n");
    }

    #[test]
    fn a_block_is_kept_or_dropped_by_its_flag() {
        let template =
            "{{#yes}}\nkept\n{{/yes}}\n{{#no}}\ndropped\n{{/no}}\n{{^no}}\nelse\n{{/no}}";
        assert_eq!(render(template, &values()), "kept\nelse\n");
    }

    #[test]
    fn a_list_repeats_its_block_and_sees_the_outer_names() {
        assert_eq!(
            render("{{#all}}\n{{n}} {{who}}\n{{/all}}", &values()),
            "1 you\n2 you\n"
        );
    }

    #[test]
    fn two_empty_lines_become_one() {
        assert_eq!(
            render("a\n\n{{#no}}\nb\n{{/no}}\n\nc", &values()),
            "a\n\nc\n"
        );
    }

    #[test]
    fn a_known_branch_leaves_no_conditions() {
        let text = "a\n.if version_atleast(3.1)\nnew\n.else\nold\n.endif\n.if !version_atleast(3.1)\nx\n.endif\nb\n";
        assert_eq!(for_branch(text, (3, 1)), "a\nnew\nb\n");
        assert_eq!(for_branch(text, (3, 0)), "a\nold\nx\nb\n");
        assert_eq!(for_branch(text, (2, 10)), "a\nold\nx\nb\n");
    }
}

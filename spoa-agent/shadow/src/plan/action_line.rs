//! Changes to the action line of a `_bulk` item that keep every other byte of it.

/// The line, for example `{"index":{"_index":"i"}}`, with this id and without the members of these names.
/// `None` when it is no such line.
pub(super) fn edited(line: &[u8], id: Option<&[u8]>, unwanted: &[&str]) -> Option<Vec<u8>> {
    // The action's name holds no brace, so the second one begins what is said of the document.
    let mut braces = line.iter().enumerate().filter(|(_, b)| **b == b'{');
    let open = braces.nth(1)?.0 + 1;
    let mut scanner = Scanner { line, at: open };
    let mut members: Vec<&[u8]> = Vec::new();
    while let Some(member) = scanner.member().ok()? {
        let name = name(member)?;
        let replaced = id.is_some() && name == "_id";
        if !replaced && !unwanted.contains(&name.as_str()) {
            members.push(member);
        }
    }
    let close = scanner.at;
    let mut out = Vec::with_capacity(line.len() + id.map_or(0, <[u8]>::len) + 16);
    out.extend_from_slice(line.get(..open)?);
    if let Some(id) = id {
        out.extend_from_slice(b"\"_id\":");
        let text = std::str::from_utf8(id).ok()?;
        serde_json::to_writer(&mut out, text).ok()?;
        if !members.is_empty() {
            out.push(b',');
        }
    }
    out.extend_from_slice(&members.join(&b','));
    out.extend_from_slice(line.get(close..)?);
    Some(out)
}

/// The member's name without its quotes and escapes.
fn name(member: &[u8]) -> Option<String> {
    let mut names = serde_json::Deserializer::from_slice(member).into_iter::<String>();
    names.next()?.ok()
}

/// The line ends inside a string or an object.
struct NotJson;

/// Walks through the members of an object in a line that was parsed before.
struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The bytes of the next member, the white space around it included. `None` at the closing brace, at
    /// which the scanner then stands.
    fn member(&mut self) -> Result<Option<&'a [u8]>, NotJson> {
        let from = self.at;
        let mut depth = 0_usize;
        loop {
            match self.line.get(self.at).ok_or(NotJson)? {
                b'"' => self.string()?,
                b'{' | b'[' => depth += 1,
                b',' if depth == 0 => {
                    let member = self.line.get(from..self.at).ok_or(NotJson)?;
                    self.at += 1;
                    return Ok(Some(member));
                }
                b'}' if depth == 0 => {
                    let member = self.line.get(from..self.at).ok_or(NotJson)?;
                    let blank = member.trim_ascii().is_empty();
                    return Ok((!blank).then_some(member));
                }
                b'}' | b']' => depth = depth.checked_sub(1).ok_or(NotJson)?,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// From the opening quote to the closing one.
    fn string(&mut self) -> Result<(), NotJson> {
        loop {
            self.at += 1;
            match self.line.get(self.at).ok_or(NotJson)? {
                b'\\' => self.at += 1,
                b'"' => return Ok(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn edit(line: &str, id: Option<&str>, unwanted: &[&str]) -> String {
        let line = edited(line.as_bytes(), id.map(str::as_bytes), unwanted).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_id_is_put_first_and_nothing_else_changes() {
        for (line, pinned) in [
            (r#"{"index":{}}"#, r#"{"index":{"_id":"a\"é"}}"#),
            (
                r#"{ "create" : { } } "#,
                r#"{ "create" : {"_id":"a\"é"} } "#,
            ),
            (
                r#"{"index":{ "_index" : "x{}\",", "r":[{"a":1},2] }}"#,
                r#"{"index":{"_id":"a\"é", "_index" : "x{}\",", "r":[{"a":1},2] }}"#,
            ),
            (
                r#"{"index":{"_index":"i","_id":null}}"#,
                r#"{"index":{"_id":"a\"é","_index":"i"}}"#,
            ),
        ] {
            assert_eq!(edit(line, Some("a\"é"), &[]), pinned);
        }
    }

    #[test]
    fn members_are_taken_out_wherever_they_stand() {
        let unwanted = ["if_seq_no", "if_primary_term"];
        for (line, left) in [
            (
                r#"{"index":{"if_seq_no":3,"if_primary_term":1,"_id":"1"}}"#,
                r#"{"index":{"_id":"1"}}"#,
            ),
            (
                r#"{"index":{"_id":"1", "if_seq_no" : 3, "routing":"if_seq_no","if_primary_term":1 }}"#,
                r#"{"index":{"_id":"1", "routing":"if_seq_no"}}"#,
            ),
            (r#"{"index":{"\u0069f_seq_no":3}}"#, r#"{"index":{}}"#),
        ] {
            assert_eq!(edit(line, None, &unwanted), left);
        }
    }

    #[test]
    fn what_is_no_action_line_is_not_edited() {
        for line in [
            "",
            "{}",
            "{\"index\":1}",
            "{\"index\":{\"a\":",
            "{\"index\":{\"a\\",
        ] {
            assert_eq!(edited(line.as_bytes(), Some(b"1"), &[]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn the_edited_line_says_the_same_and_the_id(
            members in proptest::collection::btree_map(".{0,6}", prop_oneof![".{0,6}".prop_map(Value::from), any::<i64>().prop_map(Value::from)], 0..6),
            id in ".{1,12}",
            dropped in any::<proptest::sample::Index>(),
        ) {
            let mut members: serde_json::Map<String, Value> = members.into_iter().collect();
            let line = json!({ "index": &members }).to_string();
            let unwanted = members.keys().nth(dropped.index(members.len().max(1))).cloned().unwrap_or_default();
            let got = edit(&line, Some(&id), &[&unwanted]);
            members.remove(&unwanted);
            members.insert("_id".into(), id.into());
            prop_assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), json!({ "index": members }));
        }

        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(edited(&line, Some(b"1"), &["a"]).is_none_or(|edited| edited.len() >= 3));
        }
    }
}

//! What would become of an exchange, told without a target. Pure.

use exchange::operation::{self, answer};
use exchange::{Exchange, Request};

use crate::plan::{self, Fate, Policy};
use crate::rules::{self, Rules};
use crate::{Change, Dropped, Filtered, Outcome, anchor, tokens};

/// What would become of an exchange.
#[derive(Clone, Debug)]
pub enum Preview {
    /// It would not be sent.
    Leave(Outcome),
    /// This would be sent, in one request, or in several where the order asks for it.
    Send {
        /// The request. Tokens in it are the primary's: the target's own are not known.
        request: Box<Request>,
        /// In what it differs from the captured one. [`Change::TokenMapped`] stands for what would be.
        changes: Vec<Change>,
    },
}

/// Tells what the engine would make of a complete exchange.
#[must_use]
pub fn preview(exchange: &Exchange, rules: &Rules, policy: &Policy, anchor_dates: bool) -> Preview {
    match compose(exchange, rules, policy, anchor_dates) {
        Ok((request, changes)) => Preview::Send {
            request: Box::new(request),
            changes,
        },
        Err(outcome) => Preview::Leave(outcome),
    }
}

fn compose(
    exchange: &Exchange,
    rules: &Rules,
    policy: &Policy,
    anchor_dates: bool,
) -> Result<(Request, Vec<Change>), Outcome> {
    if let Some(outcome) = Outcome::foreseen(exchange) {
        return Err(outcome);
    }
    let Some(captured) = &exchange.request else {
        return Err(Outcome::Filtered(Filtered::NoRequest));
    };
    let operation = operation::read(captured);
    let facts = rules::Facts {
        request: captured,
        operation: &operation,
        api: operation.api.as_str(),
        status: exchange.response.as_ref().map(|response| response.status),
    };
    if let rules::Verdict::Leave { reason, .. } = rules.decide(&facts) {
        return Err(Outcome::Filtered(reason.into()));
    }
    let answer = answer::read(&operation, exchange.response.as_ref());
    match plan::decide(exchange, &operation, &answer, policy).fate {
        Fate::Whole | Fate::Write(_) => {}
        Fate::Filtered(reason) => return Err(Outcome::Filtered(reason)),
        Fate::Dropped(reason) => return Err(Outcome::Dropped(reason)),
    }
    let composed = plan::compose(exchange, &operation, &answer, &plan::Items::All, policy);
    let plan::Composed {
        mut request,
        mut changes,
        ..
    } = composed.map_err(|_| Outcome::Dropped(Dropped::Uncomposable))?;
    if !tokens::in_request(captured).found().is_empty() {
        changes.push(Change::TokenMapped);
    }
    if anchor_dates {
        anchor::apply(&mut request, exchange.time_us(), &mut changes);
    }
    rules
        .apply(&mut request, &mut changes)
        .map_err(|_| Outcome::Dropped(Dropped::Unrenamable))?;
    Ok((request, changes))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use exchange::{Body, Response};

    use super::*;

    fn exchange(method: &'static str, target: &'static str, status: u16, answer: &str) -> Exchange {
        Exchange {
            position: 1,
            request: Some(Request {
                method: method.into(),
                target: target.into(),
                body: Body::observed(Bytes::from_static(b"{\"n\":1}"), true, None),
                ..Request::default()
            }),
            response: Some(Response {
                status,
                body: Body::observed(Bytes::copy_from_slice(answer.as_bytes()), true, None),
                ..Response::default()
            }),
        }
    }

    fn seen(exchange: &Exchange, rules: &str) -> Preview {
        let rules = Rules::parse(rules, &[]).unwrap();
        preview(exchange, &rules, &Policy::default(), false)
    }

    #[test]
    fn an_id_that_the_primary_chose_is_shown_and_an_index_by_its_other_name() {
        let created = exchange(
            "POST",
            "/a/_doc",
            201,
            r#"{"_index":"a","_id":"xyz","_seq_no":0,"_primary_term":1,"result":"created"}"#,
        );
        let Preview::Send { request, changes } = seen(&created, "rename = { a = 'b' }") else {
            panic!("not sent");
        };
        let target = request.target.escape_ascii().to_string();
        assert!(target.starts_with("/b/_doc/xyz"), "{target}");
        assert_eq!(changes, [Change::IdPinned, Change::IndexRenamed]);
    }

    #[test]
    fn what_the_primary_refused_and_what_a_rule_denies_would_not_be_sent() {
        let refused = exchange("PUT", "/a/_create/1", 409, "{}");
        let left = seen(&refused, "");
        assert!(matches!(
            left,
            Preview::Leave(Outcome::Filtered(Filtered::Refused))
        ));
        let search = exchange("GET", "/a/_search", 200, "{}");
        assert!(matches!(seen(&search, ""), Preview::Send { .. }));
        let denied = seen(
            &search,
            "[[rule]]\nname = 'x'\nwhen = { method = 'GET' }\nthen = 'deny'",
        );
        assert!(matches!(
            denied,
            Preview::Leave(Outcome::Filtered(Filtered::Denied))
        ));
    }
}

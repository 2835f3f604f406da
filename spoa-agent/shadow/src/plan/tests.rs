//! Deciding, composing, judging and guarding on requests and answers as the clusters write them.

use std::io::Write as _;

use bytes::Bytes;
use exchange::operation::answer::{self, Answer, Sequence};
use exchange::operation::{
    Access, Action, Api, Condition, Document, Indices, Lines, Operation, Reach, Refresh, bulk,
};
use exchange::{Body, Exchange, Extent, Header, Request, Response};
use proptest::prelude::*;

use super::guard::{self, DocumentState};
use super::*;
use crate::{Change, Dropped, Filtered};

/// An exchange with what is read from it.
struct Case {
    exchange: Exchange,
    operation: Operation,
    answer: Answer,
}

impl Case {
    fn new(exchange: Exchange, operation: Operation) -> Self {
        let answer = answer::read(&operation, exchange.response.as_ref());
        Self {
            exchange,
            operation,
            answer,
        }
    }

    /// A single document of the index `i`.
    fn single(target: &str, document: Document, response: Option<Response>) -> Self {
        Self::new(
            exchange("POST", target, "{\"f\":1}", response),
            operation(Api::Unknown, vec![document]),
        )
    }

    fn bulk(body: &str, response: Option<Response>) -> Self {
        let documents = bulk::items(body.as_bytes(), b"i", None, None).unwrap();
        Self::new(
            exchange("POST", "/i/_bulk", body, response),
            operation(Api::Bulk, documents),
        )
    }

    /// A write that names no documents.
    fn whole(target: &str, response: Option<Response>) -> Self {
        let mut operation = operation(Api::Unknown, Vec::new());
        operation.reach = Reach::Indices;
        Self::new(exchange("POST", target, "", response), operation)
    }

    fn decide_by(&self, policy: Policy) -> Decision {
        decide(&self.exchange, &self.operation, &self.answer, &policy)
    }

    fn decide(&self) -> Decision {
        self.decide_by(Policy::default())
    }

    fn compose(&self, items: Items<'_>) -> Result<Composed, Uncomposable> {
        let policy = Policy::default();
        compose(
            &self.exchange,
            &self.operation,
            &self.answer,
            &items,
            &policy,
        )
    }

    fn sent(&self) -> Composed {
        self.compose(Items::All).unwrap()
    }

    fn judge(&self, sent: &[usize], shadow: &Response) -> Judged {
        judge(&self.operation, sent, shadow, &self.answer)
    }
}

fn exchange(method: &str, target: &str, body: &str, response: Option<Response>) -> Exchange {
    Exchange {
        position: 1,
        request: Some(Request {
            id: Bytes::from_static(b"id-1"),
            method: Bytes::copy_from_slice(method.as_bytes()),
            target: Bytes::copy_from_slice(target.as_bytes()),
            headers: [
                header("host", "primary"),
                header("content-type", "application/json"),
            ]
            .into_iter()
            .collect(),
            body: whole_body(body),
            ..Request::default()
        }),
        response,
    }
}

fn operation(api: Api, documents: Vec<Document>) -> Operation {
    Operation {
        api,
        access: Access::Write,
        reach: Reach::Documents,
        indices: Indices::default(),
        documents,
        refresh: Refresh::Later,
    }
}

fn document(action: Action, id: Option<&'static str>) -> Document {
    Document {
        action,
        index: Bytes::from_static(b"i"),
        mapping_type: None,
        id: id.map(|id| Bytes::from_static(id.as_bytes())),
        routing: None,
        condition: Condition::None,
        scripted: false,
        lines: Lines::default(),
    }
}

fn header(name: &'static str, value: &'static str) -> Header {
    Header {
        name: Bytes::from_static(name.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
    }
}

fn whole_body(content: &str) -> Body {
    Body {
        content: Bytes::copy_from_slice(content.as_bytes()),
        extent: Extent::Whole,
    }
}

fn response(status: u16, body: &str) -> Response {
    Response {
        status,
        body: whole_body(body),
        ..Response::default()
    }
}

fn target_of(composed: &Composed) -> &str {
    std::str::from_utf8(&composed.request.target).unwrap()
}

fn body_of(composed: &Composed) -> &str {
    std::str::from_utf8(&composed.request.body.content).unwrap()
}

const CREATED: &str = r#"{"_index":"i","_type":"_doc","_id":"W0/+","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":4,"_primary_term":1}"#;
const UPDATED: &str = r#"{"_index":"i","_type":"_doc","_id":"1","_version":2,"result":"updated","_seq_no":5,"_primary_term":1}"#;
const CONFLICT: &str = r#"{"error":{"root_cause":[{"type":"version_conflict_engine_exception"}],"type":"version_conflict_engine_exception","reason":"[1]: version conflict","index":"i"},"status":409}"#;

// Five items: without id, conditional, a delete, one that the primary refused, one that changed nothing.
const BULK: &str = concat!(
    "{\"index\":{}}\n{\"n\":0}\n",
    "{\"index\":{\"_id\":\"1\",\"if_seq_no\":3,\"if_primary_term\":1}}\r\n{\"n\":1}\r\n",
    "\n{\"delete\":{\"_id\":\"2\"}}\n",
    "{\"create\":{\"_id\":\"3\"}}\n{\"n\":3}\n",
    "{\"update\":{\"_id\":\"4\"}}\n{\"doc\":{}}\n",
);
const BULK_ANSWER: &str = r#"{"took":3,"errors":true,"items":[
{"index":{"_index":"i","_type":"_doc","_id":"auto","_version":1,"result":"created","_seq_no":10,"_primary_term":1,"status":201}},
{"index":{"_index":"i","_type":"_doc","_id":"1","_version":2,"result":"updated","_seq_no":11,"_primary_term":1,"status":200}},
{"delete":{"_index":"i","_type":"_doc","_id":"2","_version":2,"result":"deleted","_seq_no":12,"_primary_term":1,"status":200}},
{"create":{"_index":"i","_type":"_doc","_id":"3","status":409,"error":{"type":"version_conflict_engine_exception","reason":"exists"}}},
{"update":{"_index":"i","_type":"_doc","_id":"4","_version":2,"result":"noop","_seq_no":2,"_primary_term":1,"status":200}}]}"#;

mod deciding {
    use super::*;

    #[test]
    fn a_read_is_sent_as_a_whole() {
        let mut case = Case::whole("/i/_search", Some(response(200, "{}")));
        case.operation.access = Access::Read;
        assert_eq!(
            case.decide(),
            Decision {
                fate: Fate::Whole,
                left_out: vec![],
                ambiguous: None
            }
        );
    }

    #[test]
    fn an_accepted_write_carries_what_the_scheduler_needs() {
        let case = Case::single(
            "/i/_doc",
            document(Action::Index, None),
            Some(response(201, CREATED)),
        );
        let Fate::Write(writes) = case.decide().fate else {
            panic!("a write");
        };
        assert_eq!(writes[0].id.as_deref(), Some(&b"W0/+"[..]));
        assert_eq!(writes[0].sequence, Some(Sequence { term: 1, number: 4 }));
    }

    #[test]
    fn what_the_primary_refused_is_left_out_unless_the_user_wants_it() {
        for status in [400, 409, 429, 503] {
            let refusal = CONFLICT.replace("409", &status.to_string());
            let case = Case::single(
                "/i/_doc/1",
                document(Action::Index, Some("1")),
                Some(response(status, &refusal)),
            );
            assert_eq!(case.decide().fate, Fate::Filtered(Filtered::Refused));
            let policy = Policy {
                refused: Refused::Send,
                ..Policy::default()
            };
            assert!(matches!(case.decide_by(policy).fate, Fate::Write(_)));
        }
    }

    #[test]
    fn a_delete_of_nothing_is_left_out_unless_it_leaves_a_version() {
        let answer = r#"{"_index":"i","_id":"1","_version":1,"result":"not_found","_seq_no":9,"_primary_term":1}"#;
        let mut case = Case::single(
            "/i/_doc/1",
            document(Action::Delete, Some("1")),
            Some(response(404, answer)),
        );
        assert_eq!(case.decide().fate, Fate::Filtered(Filtered::NoEffect));
        let policy = Policy {
            no_effect: NoEffect::Send,
            ..Policy::default()
        };
        assert!(matches!(case.decide_by(policy).fate, Fate::Write(_)));
        case.operation.documents[0].condition = Condition::External;
        assert!(matches!(case.decide().fate, Fate::Write(_)));
        let no_index = response(
            404,
            r#"{"error":{"type":"index_not_found_exception"},"status":404}"#,
        );
        let case = Case::single(
            "/i/_doc/1",
            document(Action::Delete, Some("1")),
            Some(no_index),
        );
        assert_eq!(case.decide().fate, Fate::Filtered(Filtered::Refused));
    }

    #[test]
    fn items_of_a_bulk_are_decided_one_by_one() {
        let decision = Case::bulk(BULK, Some(response(200, BULK_ANSWER))).decide();
        let Fate::Write(writes) = decision.fate else {
            panic!("writes");
        };
        let applied: Vec<_> = writes.iter().map(|write| write.item).collect();
        assert_eq!(applied, [0, 1, 2]);
        assert_eq!(
            decision.left_out,
            [
                LeftOut {
                    item: 3,
                    reason: Reason::Refused
                },
                LeftOut {
                    item: 4,
                    reason: Reason::NoEffect
                },
            ]
        );
        assert_eq!(decision.ambiguous, None);
    }

    #[test]
    fn a_lost_answer_is_ambiguous_and_no_document_gets_a_wrong_id() {
        let known = Case::single("/i/_doc/1", document(Action::Index, Some("1")), None);
        assert_eq!(known.decide().ambiguous, Some(Ambiguous::NoAnswer));
        assert!(matches!(known.decide().fate, Fate::Write(_)));
        let unknown = Case::single("/i/_doc", document(Action::Index, None), None);
        assert_eq!(unknown.decide().fate, Fate::Dropped(Dropped::IdUnknown));
        assert_eq!(unknown.compose(Items::All), Err(Uncomposable::Nothing));
        let filtered = Case::bulk(BULK, Some(response(200, r#"{"errors":false}"#))).decide();
        assert_eq!(filtered.ambiguous, Some(Ambiguous::IdUnknown));
        assert_eq!(
            filtered.left_out,
            [LeftOut {
                item: 0,
                reason: Reason::IdUnknown
            }]
        );
        let gateway = Case::single(
            "/i/_doc/1",
            document(Action::Index, Some("1")),
            Some(response(504, "<html>")),
        );
        assert_eq!(gateway.decide().ambiguous, Some(Ambiguous::Gateway));
    }

    #[test]
    fn ids_that_are_not_pinned_need_not_be_known() {
        let case = Case::single("/i/_doc", document(Action::Index, None), None);
        let policy = Policy {
            pin_ids: false,
            ..Policy::default()
        };
        assert!(matches!(case.decide_by(policy).fate, Fate::Write(_)));
    }

    #[test]
    fn a_node_that_was_lost_may_have_done_what_it_did_not_answer() {
        let lost = r#"{"error":{"type":"node_disconnected_exception"},"status":500}"#;
        let case = Case::single(
            "/i/_doc/1",
            document(Action::Index, Some("1")),
            Some(response(500, lost)),
        );
        assert_eq!(case.decide().ambiguous, Some(Ambiguous::MayBeDone));
        assert_eq!(case.decide().fate, Fate::Filtered(Filtered::Refused));
    }

    #[test]
    fn administration_follows_its_status() {
        let of = |status| {
            Case::whole("/i", Some(response(status, "{}")))
                .decide()
                .fate
        };
        assert_eq!(of(200), Fate::Whole);
        assert_eq!(of(400), Fate::Filtered(Filtered::Refused));
        assert_eq!(
            Case::whole("/i", None).decide().ambiguous,
            Some(Ambiguous::NoAnswer)
        );
    }

    #[test]
    fn by_query_operations_say_whether_they_did_all_of_it() {
        let done = r#"{"took":1,"timed_out":false,"total":2,"updated":2,"version_conflicts":0,"failures":[]}"#;
        let some = r#"{"took":1,"timed_out":false,"total":2,"updated":1,"version_conflicts":1,"failures":[]}"#;
        let stopped = r#"{"took":1,"total":2,"updated":1,"version_conflicts":1,"failures":[{"index":"i","id":"1","status":409}]}"#;
        let invalid = r#"{"error":{"type":"parsing_exception"},"status":400}"#;
        for (query, status, body, ambiguous, sent) in [
            ("", 200, done, None, true),
            (
                "?conflicts=proceed",
                200,
                some,
                Some(Ambiguous::Partly),
                true,
            ),
            ("", 409, stopped, Some(Ambiguous::Partly), true),
            ("", 400, invalid, None, false),
            ("", 200, "", Some(Ambiguous::AnswerUnread), true),
            (
                "?wait_for_completion=false",
                200,
                r#"{"task":"n:1"}"#,
                Some(Ambiguous::Background),
                true,
            ),
        ] {
            let target = format!("/i/_update_by_query{query}");
            let decision = Case::whole(&target, Some(response(status, body))).decide();
            assert_eq!(decision.ambiguous, ambiguous, "{target} {body}");
            assert_eq!(decision.fate == Fate::Whole, sent, "{target} {body}");
        }
    }
}

mod composing {
    use super::*;

    #[test]
    fn nothing_changes_when_nothing_must() {
        let case = Case::single(
            "/i/_doc/1?routing=%41&refresh",
            document(Action::Index, Some("1")),
            Some(response(200, UPDATED)),
        );
        let sent = case.sent();
        assert_eq!(Some(&sent.request), case.exchange.request.as_ref());
        assert_eq!((sent.changes, sent.items), (vec![], vec![0]));
        let body = "\n{\"delete\":{\"_id\":\"1\"}}\r\n  \n{\"delete\":{\"_id\":\"2\"}}\n\n";
        let answer = r#"{"items":[{"delete":{"_id":"1","status":200}},{"delete":{"_id":"2","status":200}}]}"#;
        let case = Case::bulk(body, Some(response(200, answer)));
        assert_eq!(Some(case.sent().request), case.exchange.request);
    }

    #[test]
    fn a_document_without_an_id_is_created_under_the_id_that_the_primary_chose() {
        for (target, pinned) in [
            ("/i/_doc", "/i/_doc/W0%2F%2B?op_type=create"),
            (
                "/i/tweet?refresh=true",
                "/i/tweet/W0%2F%2B?refresh=true&op_type=create",
            ),
            ("/i/_doc?op_type=create", "/i/_doc/W0%2F%2B?op_type=create"),
        ] {
            let case = Case::single(
                target,
                document(Action::Index, None),
                Some(response(201, CREATED)),
            );
            let sent = case.sent();
            assert_eq!(target_of(&sent), pinned);
            assert_eq!(sent.changes, [Change::IdPinned]);
            let mut same_otherwise = sent.request.clone();
            same_otherwise.target = Bytes::copy_from_slice(target.as_bytes());
            assert_eq!(Some(same_otherwise), case.exchange.request);
        }
    }

    #[test]
    fn a_condition_that_held_is_taken_out_and_an_external_version_stays() {
        for (condition, target, sent_target) in [
            (
                Condition::Sequence,
                "/i/_doc/1?if_seq_no=4&if_primary_term=1",
                "/i/_doc/1",
            ),
            (
                Condition::Version,
                "/i/doc/1?version=4&routing=r",
                "/i/doc/1?routing=r",
            ),
            (
                Condition::External,
                "/i/_doc/1?version=4&version_type=external",
                "/i/_doc/1?version=4&version_type=external",
            ),
        ] {
            let mut document = document(Action::Index, Some("1"));
            document.condition = condition;
            let case = Case::single(target, document.clone(), Some(response(200, UPDATED)));
            assert_eq!(target_of(&case.sent()), sent_target);
            let lost = Case::single(target, document, None);
            assert_eq!(target_of(&lost.sent()), target, "nobody knows that it held");
        }
    }

    #[test]
    fn a_bulk_gets_its_ids_and_loses_what_was_refused_and_its_conditions() {
        let sent = Case::bulk(BULK, Some(response(200, BULK_ANSWER))).sent();
        assert_eq!(
            body_of(&sent),
            concat!(
                "{\"index\":{\"_id\":\"auto\"}}\n{\"n\":0}\n",
                "{\"index\":{\"_id\":\"1\"}}\r\n{\"n\":1}\r\n",
                "\n{\"delete\":{\"_id\":\"2\"}}\n",
            )
        );
        assert_eq!(
            sent.changes,
            [
                Change::ItemsLeftOut,
                Change::IdPinned,
                Change::ConditionRemoved
            ]
        );
        assert_eq!(sent.items, [0, 1, 2]);
    }

    #[test]
    fn some_items_of_a_bulk_make_a_request_of_their_own() {
        let case = Case::bulk(BULK, Some(response(200, BULK_ANSWER)));
        let sent = case.compose(Items::These(&[2])).unwrap();
        assert_eq!(body_of(&sent), "\n{\"delete\":{\"_id\":\"2\"}}\n");
        assert_eq!(sent.changes, [Change::ItemsLeftOut, Change::Split]);
        assert_eq!(
            case.compose(Items::These(&[7])),
            Err(Uncomposable::Mismatch)
        );
    }

    #[test]
    fn a_compressed_body_is_decoded_only_when_it_must_change() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(BULK.as_bytes()).unwrap();
        let gzip = Bytes::from(gzip.finish().unwrap());
        let compressed = |answer: &str| {
            let mut case = Case::bulk(BULK, Some(response(200, answer)));
            let request = case.exchange.request.as_mut().unwrap();
            request.headers.0.push(header("Content-Encoding", "gzip"));
            request.body.content = gzip.clone();
            case
        };
        let sent = compressed(BULK_ANSWER).sent();
        assert!(body_of(&sent).starts_with("{\"index\":{\"_id\":\"auto\"}}\n"));
        assert_eq!(sent.request.headers.get("content-encoding"), None);
        assert_eq!(sent.request.headers.get("host"), Some(&b"primary"[..]));
        assert_eq!(sent.changes.last(), Some(&Change::Decoded));

        let case = compressed("");
        let policy = Policy {
            pin_ids: false,
            ..Policy::default()
        };
        let sent = compose(
            &case.exchange,
            &case.operation,
            &case.answer,
            &Items::All,
            &policy,
        );
        assert_eq!(sent.unwrap().request.body.content, gzip);
    }

    #[test]
    fn a_body_that_is_not_that_of_the_operation_is_refused_not_mangled() {
        let mut case = Case::bulk(BULK, Some(response(200, BULK_ANSWER)));
        case.exchange.request.as_mut().unwrap().body = whole_body("{\"index\":{}}\n");
        assert_eq!(case.compose(Items::All), Err(Uncomposable::Mismatch));
    }

    fn items() -> impl Strategy<Value = Vec<(bool, bool, bool)>> {
        proptest::collection::vec(any::<(bool, bool, bool)>(), 1..12)
    }

    proptest! {
        #[test]
        fn a_body_of_any_bytes_is_composed_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut case = Case::bulk(BULK, Some(response(200, BULK_ANSWER)));
            case.exchange.request.as_mut().unwrap().body.content = body.into();
            if let Ok(sent) = case.compose(Items::All) {
                prop_assert_eq!(sent.items, [0, 1, 2]);
            }
        }

        /// Each item with an id or without, conditional or not, accepted or refused.
        #[test]
        fn a_composed_bulk_says_exactly_what_was_accepted(items in items(), split in any::<u16>()) {
            let mut body = String::new();
            let mut answers = Vec::new();
            for (number, (has_id, conditional, accepted)) in items.iter().enumerate() {
                let mut meta = serde_json::Map::new();
                if *conditional && *has_id {
                    meta.insert("if_seq_no".into(), 1.into());
                    meta.insert("if_primary_term".into(), 1.into());
                }
                if *has_id {
                    meta.insert("_id".into(), format!("id-{number}").into());
                }
                body += &format!("{}\n{{\"n\":{number}}}\n", serde_json::json!({ "index": meta }));
                let status = if *accepted { 201 } else { 400 };
                answers.push(serde_json::json!({ "index": { "_id": format!("id-{number}"), "status": status } }));
            }
            let answer = serde_json::json!({ "errors": true, "items": answers }).to_string();
            let case = Case::bulk(&body, Some(response(200, &answer)));
            let accepted: Vec<usize> = (0..items.len()).filter(|n| items[*n].2).collect();
            let wanted: Vec<usize> = accepted.iter().copied().filter(|n| split >> n & 1 == 1).collect();
            for (which, expected) in [(Items::All, &accepted), (Items::These(&wanted), &wanted)] {
                let Ok(sent) = case.compose(which) else {
                    prop_assert!(expected.is_empty());
                    continue;
                };
                let read = bulk::items(&sent.request.body.content, b"i", None, None).unwrap();
                let body = body_of(&sent);
                let told: Vec<_> = read
                    .iter()
                    .map(|item| {
                        let source = body.get(item.lines.source.clone().unwrap()).unwrap();
                        (item.id.clone().unwrap(), item.condition, source.to_owned())
                    })
                    .collect();
                let meant: Vec<_> = expected
                    .iter()
                    .map(|n| (Bytes::from(format!("id-{n}")), Condition::None, format!("{{\"n\":{n}}}")))
                    .collect();
                prop_assert_eq!(told, meant);
                prop_assert_eq!(&sent.items, expected);
            }
        }
    }
}

mod judging {
    use super::*;

    const THREE: &str = concat!(
        "{\"index\":{\"_id\":\"1\"}}\n{}\n",
        "{\"index\":{\"_id\":\"2\"}}\n{}\n",
        "{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{}}\n",
    );
    const ALL_DONE: &str = r#"{"errors":false,"items":[{"index":{"_index":"i","_id":"1","status":201}},{"index":{"_index":"i","_id":"2","status":201}},{"update":{"_index":"i","_id":"1","status":200}}]}"#;

    fn three() -> Case {
        Case::bulk(THREE, Some(response(200, ALL_DONE)))
    }

    #[test]
    fn only_what_failed_goes_again_and_what_follows_it_on_the_same_document() {
        let busy = ALL_DONE.replacen(
            "\"status\":201",
            "\"status\":429,\"error\":{\"type\":\"es_rejected_execution_exception\"}",
            1,
        );
        let judged = three().judge(&[0, 1, 2], &response(200, &busy));
        assert_eq!(judged.again(), [0, 2]);
        assert_eq!(judged.items[1], (1, Became::Applied));
        assert_eq!(judged.whole, Became::Again);
        let all = three().judge(&[0, 1, 2], &response(200, ALL_DONE));
        assert_eq!((all.whole, all.items.len()), (Became::Applied, 3));
    }

    #[test]
    fn refusals_are_final_unless_they_are_back_pressure() {
        for (status, kind, again) in [
            (400, "mapper_parsing_exception", false),
            (403, "cluster_block_exception", false),
            (429, "cluster_block_exception", true),
            (503, "unavailable_shards_exception", true),
            (500, "es_rejected_execution_exception", true),
            (500, "circuit_breaking_exception", true),
            (500, "illegal_state_exception", false),
        ] {
            let body = format!("{{\"error\":{{\"type\":\"{kind}\"}},\"status\":{status}}}");
            let case = Case::single(
                "/i/_doc/1",
                document(Action::Index, Some("1")),
                Some(response(200, UPDATED)),
            );
            let judged = case.judge(&[0], &response(status, &body));
            assert_eq!(judged.whole == Became::Again, again, "{status} {kind}");
            let admin = Case::whole("/i", Some(response(200, "{}")));
            let judged = admin.judge(&[], &response(status, &body));
            assert_eq!(judged.whole == Became::Again, again, "{status} {kind}");
        }
    }

    #[test]
    fn a_write_that_was_done_before_is_settled() {
        let refusal = response(409, CONFLICT);
        let pinned = Case::single(
            "/i/_doc",
            document(Action::Index, None),
            Some(response(201, CREATED)),
        );
        let judged = pinned.judge(&[0], &refusal);
        assert!(matches!(judged.whole, Became::Settled(_)));
        assert_eq!(judged.unwritten, [0]);
        let create = Case::single(
            "/i/_create/1",
            document(Action::Create, Some("1")),
            Some(response(201, CREATED)),
        );
        assert!(matches!(
            create.judge(&[0], &refusal).whole,
            Became::Settled(_)
        ));
        let plain = Case::single(
            "/i/_doc/1",
            document(Action::Index, Some("1")),
            Some(response(200, UPDATED)),
        );
        let Became::Refused(refused) = plain.judge(&[0], &refusal).whole else {
            panic!("a plain index is not refused for being done twice");
        };
        assert_eq!(
            refused.error.as_deref(),
            Some(&b"version_conflict_engine_exception"[..])
        );
        let delete = Case::single(
            "/i/_doc/1",
            document(Action::Delete, Some("1")),
            Some(response(200, UPDATED)),
        );
        let missing = response(404, r#"{"_id":"1","result":"not_found"}"#);
        let judged = delete.judge(&[0], &missing);
        assert!(matches!(judged.whole, Became::Settled(_)));
        assert!(
            judged.unwritten.is_empty(),
            "it is written down that it is gone"
        );
    }

    #[test]
    fn an_update_that_found_nothing_to_do_was_not_written() {
        let update = Case::single(
            "/i/_update/1",
            document(Action::Update, Some("1")),
            Some(response(200, UPDATED)),
        );
        let noop = response(200, r#"{"_id":"1","result":"noop"}"#);
        let judged = update.judge(&[0], &noop);
        assert_eq!(judged.whole, Became::Applied);
        assert_eq!(judged.unwritten, [0]);
        let updated = update.judge(&[0], &response(200, UPDATED));
        assert!(updated.unwritten.is_empty());
    }

    #[test]
    fn a_bulk_that_is_too_large_is_halved_down_to_one_item() {
        let too_large = response(413, "");
        let judged = three().judge(&[0, 1, 2], &too_large);
        assert!(judged.too_large);
        assert_eq!(halve(&judged.again()), (vec![0, 1], vec![2]));
        let judged = three().judge(&[2], &too_large);
        assert!(!judged.too_large);
        assert!(matches!(judged.whole, Became::Refused(_)));
        assert_eq!(halve(&[2]), (vec![2], vec![]));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_unknown() {
        let mut cut = response(200, ALL_DONE);
        cut.body.extent = Extent::Cut { missing: None };
        assert_eq!(three().judge(&[0, 1, 2], &cut).whole, Became::Unknown);
        assert_eq!(
            three().judge(&[0, 1, 2], &response(502, "<html>")).again(),
            [0, 1, 2]
        );
    }

    #[test]
    fn a_read_goes_again_only_when_the_target_is_too_busy() {
        let mut case = Case::whole("/i/_search", Some(response(200, "{}")));
        case.operation.access = Access::Read;
        for (status, became) in [
            (200, Became::Applied),
            (404, Became::Applied),
            (503, Became::Again),
        ] {
            assert_eq!(case.judge(&[], &response(status, "{}")).whole, became);
        }
    }
}

mod guarding {
    use super::*;

    const SCRIPTED: &str = concat!(
        "{\"update\":{\"_id\":\"1\",\"routing\":\"r\"}}\n{\"script\":\"a\"}\n",
        "{\"update\":{\"_id\":\"2\",\"_type\":\"t\"}}\n{\"script\":\"a\"}\n",
        "{\"index\":{\"_id\":\"3\"}}\n{}\n",
        "{\"update\":{\"_id\":\"1\",\"routing\":\"r\"}}\n{\"script\":\"b\"}\n",
        "{\"index\":{\"_id\":\"2\",\"_type\":\"t\"}}\n{}\n",
    );

    #[test]
    fn scripted_updates_are_guarded_and_share_no_request_with_their_documents_other_writes() {
        let case = Case::bulk(SCRIPTED, None);
        assert_eq!(needs_guard(&case.operation), [0, 1, 3]);
        let groups = guard_groups(&case.operation, &[0, 1, 2, 3, 4]);
        assert_eq!(groups, [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(guard_groups(&case.operation, &[0, 2]), [vec![0, 2]]);
        assert!(guard_groups(&case.operation, &[]).is_empty());
    }

    #[test]
    fn the_state_of_the_documents_is_asked_for_in_one_request() {
        let mut case = Case::bulk(SCRIPTED, None);
        let headers = &mut case.exchange.request.as_mut().unwrap().headers;
        headers.0.push(header("Content-Encoding", "gzip"));
        let request = guard::request(&case.exchange, &case.operation, &[0, 1]).unwrap();
        assert_eq!(
            (&request.method[..], &request.target[..]),
            (&b"POST"[..], &b"/_mget?_source=false"[..])
        );
        assert_eq!(
            &request.body.content[..],
            br#"{"docs":[{"_index":"i","_id":"1","routing":"r"},{"_index":"i","_type":"t","_id":"2"}]}"#
        );
        let names: Vec<_> = request
            .headers
            .iter()
            .map(|field| &field.name[..])
            .collect();
        assert_eq!(names, [&b"host"[..], b"content-type"]);
        assert_eq!(request.id, "id-1");
    }

    #[test]
    fn the_state_tells_whether_a_write_was_done() {
        let case = Case::bulk(SCRIPTED, None);
        let read = |docs: &str| {
            let body = format!("{{\"docs\":[{docs}]}}");
            guard::read(&case.operation, &[0, 1], &response(200, &body))
        };
        let before = read(
            r#"{"_index":"i","_id":"1","_version":3,"_seq_no":7,"_primary_term":1,"found":true},{"_index":"i","_id":"2","found":false}"#,
        );
        let seventh = DocumentState::At(Sequence { term: 1, number: 7 });
        assert_eq!(before, [seventh, DocumentState::Missing]);
        let now = read(
            r#"{"_index":"i","_id":"1","_version":4,"_seq_no":9,"_primary_term":1,"found":true},{"_index":"i","_id":"2","found":false}"#,
        );
        assert_eq!(guard::is_done(before[0], now[0]), Some(true));
        assert_eq!(guard::is_done(before[1], now[1]), Some(false));
        let errors = read(
            r#"{"_index":"i","_id":"1","error":{"type":"index_not_found_exception"}},{"_index":"i","_id":"2","error":{"type":"illegal_argument_exception"}}"#,
        );
        assert_eq!(errors, [DocumentState::Missing, DocumentState::Unknown]);
        assert_eq!(guard::is_done(before[0], errors[1]), None);
        let old = read(
            r#"{"_index":"i","_id":"1","_version":4,"found":true},{"_index":"i","_id":"2","found":false}"#,
        );
        assert_eq!(old[0], DocumentState::Version(4));
        let busy = guard::read(&case.operation, &[0, 1], &response(429, "{}"));
        assert_eq!(busy, [DocumentState::Unknown; 2]);
    }

    #[test]
    fn one_document_is_guarded_by_an_mget_of_one() {
        let mut scripted = document(Action::Update, Some("1"));
        scripted.scripted = true;
        let case = Case::single("/i/_update/1", scripted, None);
        let body = r#"{"docs":[{"_index":"i","_id":"1","_version":3,"_seq_no":7,"_primary_term":2,"found":true}]}"#;
        let states = guard::read(&case.operation, &[0], &response(200, body));
        assert_eq!(states, [DocumentState::At(Sequence { term: 2, number: 7 })]);
    }

    #[test]
    fn writes_without_documents_are_fenced() {
        assert!(needs_fence(
            &Case::whole("/i/_delete_by_query", None).operation
        ));
        assert!(!needs_fence(&Case::bulk(SCRIPTED, None).operation));
    }

    proptest! {
        #[test]
        fn groups_keep_every_item_in_order(items in proptest::collection::vec((0..3_u8, 0..3_u8), 0..12)) {
            let body: String = items.iter().map(|(id, kind)| match kind {
                0 => format!("{{\"create\":{{\"_id\":\"{id}\"}}}}\n{{}}\n"),
                1 => format!("{{\"update\":{{\"_id\":\"{id}\"}}}}\n{{\"doc\":{{}}}}\n"),
                _ => format!("{{\"update\":{{\"_id\":\"{id}\"}}}}\n{{\"script\":1}}\n"),
            }).collect();
            let case = Case::bulk(&body, None);
            let all: Vec<usize> = (0..items.len()).collect();
            let groups = guard_groups(&case.operation, &all);
            for group in &groups {
                for item in group.iter().filter(|item| items[**item].1 == 2) {
                    let same = group.iter().filter(|other| items[**other].0 == items[*item].0);
                    prop_assert_eq!(same.count(), 1);
                }
            }
            prop_assert_eq!(groups.concat(), all);
        }
    }
}

//! Replaces single ranges of bytes, and takes items out of lists.

use std::ops::Range;

/// What is to stand in place of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) range: Range<usize>,
    pub(crate) with: Vec<u8>,
}

/// The bytes with the edits made; all others stay. `None` when edits overlap or lie outside.
pub(crate) fn spliced(bytes: &[u8], mut edits: Vec<Edit>) -> Option<Vec<u8>> {
    edits.sort_by_key(|edit| edit.range.start);
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = Vec::with_capacity(bytes.len() + added);
    let mut from = 0;
    for edit in edits {
        out.extend_from_slice(bytes.get(from..edit.range.start)?);
        out.extend_from_slice(&edit.with);
        from = edit.range.end;
    }
    out.extend_from_slice(bytes.get(from..)?);
    Some(out)
}

/// The ranges to cut so that only some items of a list stay: each leaves with the comma behind it, the last ones with
/// the comma before them. `items` are in order, with whether each stays; at least one does.
pub(crate) fn left_out(items: &[(Range<usize>, bool)]) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let last_kept = items.iter().rposition(|(_, stays)| *stays);
    for (at, pair) in items.windows(2).enumerate() {
        if let [(item, false), (next, _)] = pair
            && last_kept.is_some_and(|kept| at < kept)
        {
            cuts.push(item.start..next.start);
        }
    }
    if let (Some((kept, _)), Some((last, false))) =
        (last_kept.and_then(|at| items.get(at)), items.last())
    {
        cuts.push(kept.end..last.end);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edits_that_overlap_or_lie_outside_are_refused() {
        let edit = |range| Edit {
            range,
            with: b"x".to_vec(),
        };
        assert_eq!(spliced(b"abc", vec![edit(0..2), edit(1..3)]), None);
        assert_eq!(spliced(b"abc", vec![edit(2..4)]), None);
        assert_eq!(
            spliced(b"abc", vec![edit(2..3), edit(0..1)]).unwrap(),
            b"xbx"
        );
    }

    proptest! {
        #[test]
        fn a_list_keeps_exactly_the_items_that_stay(stays in prop::collection::vec(any::<bool>(), 1..8)) {
            prop_assume!(stays.contains(&true));
            let mut text = b"[ ".to_vec();
            let mut items = Vec::new();
            for (number, stays) in stays.iter().enumerate() {
                if number > 0 {
                    text.extend_from_slice(b" , ");
                }
                let start = text.len();
                text.extend_from_slice(number.to_string().as_bytes());
                items.push((start..text.len(), *stays));
            }
            text.extend_from_slice(b" ]");
            let cuts = left_out(&items);
            let edits = cuts.into_iter().map(|range| Edit { range, with: Vec::new() }).collect();
            let left: Vec<usize> = serde_json::from_slice(&spliced(&text, edits).unwrap()).unwrap();
            let wanted: Vec<usize> = (0..stays.len()).filter(|at| stays[*at]).collect();
            prop_assert_eq!(left, wanted);
        }
    }
}

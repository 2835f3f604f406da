//! The causal scheduler against a model of a primary that executes what its clients ask at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod cluster;
mod history;
mod rules;

use history::{History, Weather, steps};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const CALM: Weather = Weather {
    clients: 6,
    documents: 3,
    lost: false,
    sweeps: false,
};

fn run(steps: &[history::Step]) -> History {
    let mut history = History::new();
    for step in steps {
        history.step(step);
    }
    history.finish();
    history
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn when_all_answers_are_known_the_shadow_ends_like_the_primary_and_nothing_is_ambiguous(
        steps in steps(CALM)
    ) {
        let history = run(&steps);
        history.check_nothing_left();
        prop_assert_eq!(history.told, 0);
        history.check_documents();
        history.check_reads();
    }

    #[test]
    fn one_hot_document_ends_as_on_the_primary(
        steps in steps(Weather { clients: 8, documents: 1, ..CALM })
    ) {
        let history = run(&steps);
        history.check_nothing_left();
        prop_assert_eq!(history.told, 0);
        history.check_documents();
        history.check_reads();
    }

    #[test]
    fn with_sweeps_only_what_is_listed_as_ambiguous_differs(
        steps in steps(Weather { sweeps: true, ..CALM })
    ) {
        let history = run(&steps);
        history.check_nothing_left();
        history.check_documents();
        history.check_reads();
    }

    #[test]
    fn with_lost_answers_too_only_what_is_listed_as_ambiguous_differs(
        steps in steps(Weather { sweeps: true, lost: true, ..CALM })
    ) {
        let history = run(&steps);
        history.check_nothing_left();
        history.check_documents();
    }
}

/// The laws above would hold in an empty world too.
#[test]
fn the_histories_have_inversions_splits_holds_and_reads_in_them() {
    let mut runner = TestRunner::deterministic();
    let steps = steps(CALM);
    let (mut inversions, mut splits, mut held, mut reads) = (0, 0, 0, 0);
    for _ in 0..200 {
        let history = run(&steps.new_tree(&mut runner).unwrap().current());
        let counters = history.counters();
        inversions += counters.inversions;
        splits += counters.splits;
        held += counters.held_for_open;
        reads += history.check_reads();
    }
    let seen = (inversions, splits, held, reads);
    assert!(
        inversions > 50 && splits > 10 && held > 100 && reads > 100,
        "{seen:?}"
    );
}

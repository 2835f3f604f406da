//! The rule, case by case: who waits for whom, and who does not.

use bytes::Bytes;
use exchange::operation::Access;
use exchange::operation::answer::Sequence;
use proptest::prelude::*;
use shadow::order::{
    Ambiguity, Completed, Footprint, Items, Key, Level, Memory, Of, Order, Reason, Scope, Sweep,
    Ticket, Touch, Unit,
};

fn order() -> Order {
    Order::new(Level::Causal, Memory::default())
}

fn name(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn touch(access: Access, document: u64, number: Option<u64>, item: u32) -> Touch {
    Touch {
        index: name("i"),
        key: Key(document),
        access,
        sequence: number.map(|number| Sequence { term: 1, number }),
        item,
    }
}

/// Writes of documents with their numbers; number 0 is not known.
fn write(items: &[(u64, u64)]) -> Footprint {
    let items = items.iter().zip(0..);
    Footprint {
        documents: items
            .map(|((document, number), item)| {
                touch(
                    Access::Write,
                    *document,
                    (*number > 0).then_some(*number),
                    item,
                )
            })
            .collect(),
        ..Footprint::default()
    }
}

fn read(document: u64, number: u64) -> Footprint {
    Footprint {
        documents: vec![touch(
            Access::Read,
            document,
            (number > 0).then_some(number),
            0,
        )],
        ..Footprint::default()
    }
}

fn on(access: Access, index: &'static str) -> Footprint {
    Footprint {
        access,
        indices: Scope::Indices(vec![name(index)]),
        ..Footprint::default()
    }
}

fn search(index: &'static str) -> Footprint {
    on(Access::Read, index)
}

fn refresh(index: &'static str) -> Footprint {
    Footprint {
        refresh: true,
        ..search(index)
    }
}

fn barrier(index: &'static str) -> Footprint {
    on(Access::Write, index)
}

fn by_query(index: &'static str) -> Footprint {
    Footprint {
        sweep: Sweep::Visible,
        ..barrier(index)
    }
}

fn apply(order: &mut Order, ticket: Ticket, footprint: &Footprint) {
    order.complete(ticket, Completed::Apply(footprint));
}

/// Begins and ends at the same time.
fn at_once(order: &mut Order, ticket: Ticket, footprint: &Footprint) {
    order.begun(ticket, footprint);
    apply(order, ticket, footprint);
}

/// All that may go now.
fn ready(order: &mut Order) -> Vec<Unit> {
    std::iter::from_fn(|| order.take()).collect()
}

fn tickets(units: &[Unit]) -> Vec<Ticket> {
    units.iter().map(|unit| unit.ticket).collect()
}

/// Everything, one after the other.
fn run(order: &mut Order) -> Vec<(Ticket, Items)> {
    let mut all = Vec::new();
    while let Some(unit) = order.take() {
        order.done(unit.id);
        all.push((unit.ticket, unit.items));
    }
    all
}

fn ambiguous(order: &mut Order) -> Vec<Ambiguity> {
    order.ambiguous().collect()
}

#[test]
fn different_documents_go_at_the_same_time_and_one_document_in_order() {
    let mut order = order();
    at_once(&mut order, 1, &write(&[(1, 1)]));
    at_once(&mut order, 2, &write(&[(2, 1)]));
    at_once(&mut order, 3, &write(&[(1, 2)]));
    let first = ready(&mut order);
    assert_eq!(tickets(&first), [1, 2]);
    order.done(first[0].id);
    assert_eq!(tickets(&ready(&mut order)), [3]);
}

#[test]
fn reads_of_one_document_go_at_the_same_time() {
    let mut order = order();
    at_once(&mut order, 1, &read(1, 1));
    at_once(&mut order, 2, &read(1, 1));
    at_once(&mut order, 3, &write(&[(1, 2)]));
    at_once(&mut order, 4, &read(1, 2));
    let reads = ready(&mut order);
    assert_eq!(tickets(&reads), [1, 2]);
    order.done(reads[1].id);
    assert_eq!(order.take(), None);
    order.done(reads[0].id);
    assert_eq!(run(&mut order), [(3, Items::All), (4, Items::All)]);
}

#[test]
fn a_write_waits_for_open_writes_of_its_document_that_began_before_it_was_complete() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    at_once(&mut order, 2, &write(&[(1, 8)]));
    order.begun(3, &write(&[(1, 0)]));
    assert_eq!(order.take(), None);
    assert!(order.is_stuck());
    apply(&mut order, 1, &write(&[(1, 7)]));
    // The third began after the second was complete, so it comes after both.
    assert_eq!(run(&mut order), [(1, Items::All), (2, Items::All)]);
    assert_eq!(order.counters().inversions, 1);
    assert_eq!(order.counters().splits, 0);
}

#[test]
fn an_open_write_that_is_refused_holds_nobody_any_more() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    at_once(&mut order, 2, &write(&[(1, 8)]));
    order.complete(1, Completed::Leave);
    assert_eq!(run(&mut order), [(2, Items::All)]);
    assert!(order.is_empty());
}

#[test]
fn a_bulk_that_lies_before_another_as_a_whole_is_not_split() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0), (2, 0), (3, 0)]));
    order.begun(2, &write(&[(3, 0), (2, 0), (1, 0)]));
    apply(&mut order, 2, &write(&[(3, 11), (2, 12), (1, 13)]));
    apply(&mut order, 1, &write(&[(1, 1), (2, 2), (3, 3)]));
    assert_eq!(run(&mut order), [(1, Items::All), (2, Items::All)]);
    assert_eq!(order.counters().splits, 0);
}

#[test]
fn bulks_are_split_where_their_orders_cross() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0), (2, 0)]));
    order.begun(2, &write(&[(1, 0), (2, 0)]));
    apply(&mut order, 2, &write(&[(1, 2), (2, 3)]));
    apply(&mut order, 1, &write(&[(1, 1), (2, 4)]));
    assert_eq!(
        run(&mut order),
        [
            (1, Items::Some(vec![0])),
            (2, Items::All),
            (1, Items::Some(vec![1])),
        ]
    );
    assert_eq!(order.counters().splits, 1);
}

#[test]
fn a_write_between_two_items_of_one_bulk_goes_between_them() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0), (2, 0), (1, 0)]));
    order.begun(2, &write(&[(1, 0)]));
    apply(&mut order, 1, &write(&[(1, 1), (2, 2), (1, 4)]));
    apply(&mut order, 2, &write(&[(1, 3)]));
    assert_eq!(
        run(&mut order),
        [
            (1, Items::Some(vec![0])),
            (2, Items::All),
            (1, Items::Some(vec![1, 2])),
        ]
    );
}

#[test]
fn items_that_the_primary_refused_are_not_waited_for() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0), (2, 0)]));
    apply(&mut order, 1, &write(&[(1, 1)]));
    at_once(&mut order, 2, &write(&[(2, 1)]));
    assert_eq!(tickets(&ready(&mut order)), [1, 2]);
}

#[test]
fn a_sequence_that_starts_again_moves_nothing_that_does_not_overlap() {
    let mut order = order();
    at_once(&mut order, 1, &write(&[(1, 500)]));
    at_once(&mut order, 2, &barrier("i"));
    at_once(&mut order, 3, &write(&[(1, 1)]));
    assert_eq!(
        run(&mut order),
        [(1, Items::All), (2, Items::All), (3, Items::All)]
    );
}

#[test]
fn a_read_goes_behind_the_write_that_it_saw_and_before_later_ones() {
    let mut order = order();
    order.begun(1, &read(1, 0));
    order.begun(2, &write(&[(1, 0)]));
    order.begun(3, &write(&[(1, 0)]));
    apply(&mut order, 3, &write(&[(1, 6)]));
    apply(&mut order, 1, &read(1, 5));
    apply(&mut order, 2, &write(&[(1, 5)]));
    assert_eq!(
        run(&mut order),
        [(2, Items::All), (1, Items::All), (3, Items::All)]
    );
}

#[test]
fn an_open_read_holds_nobody() {
    let mut order = order();
    order.begun(1, &read(1, 0));
    at_once(&mut order, 2, &write(&[(1, 1)]));
    assert_eq!(tickets(&ready(&mut order)), [2]);
}

#[test]
fn a_search_waits_for_writes_that_were_complete_and_holds_no_later_ones() {
    let mut order = order();
    at_once(&mut order, 1, &write(&[(1, 1)]));
    at_once(&mut order, 2, &search("i"));
    at_once(&mut order, 3, &write(&[(2, 2)]));
    at_once(&mut order, 4, &search("other"));
    let first = ready(&mut order);
    assert_eq!(tickets(&first), [1, 3, 4]);
    order.done(first[0].id);
    assert_eq!(tickets(&ready(&mut order)), [2]);
}

#[test]
fn a_search_does_not_wait_for_writes_that_it_overlaps() {
    let mut order = order();
    order.begun(1, &search("i"));
    at_once(&mut order, 2, &write(&[(1, 1)]));
    apply(&mut order, 1, &search("i"));
    assert_eq!(tickets(&ready(&mut order)), [2, 1]);
}

#[test]
fn a_refresh_waits_for_earlier_searches_and_later_searches_wait_for_it() {
    let mut order = order();
    at_once(&mut order, 1, &search("i*"));
    at_once(&mut order, 2, &refresh("i"));
    at_once(&mut order, 3, &search("*"));
    at_once(&mut order, 4, &write(&[(1, 1)]));
    let first = ready(&mut order);
    assert_eq!(tickets(&first), [1, 4]);
    order.done(first[0].id);
    let second = ready(&mut order);
    assert_eq!(tickets(&second), [2]);
    order.done(second[0].id);
    assert_eq!(tickets(&ready(&mut order)), [3]);
}

#[test]
fn a_barrier_stands_between_everything_before_and_after_it_on_its_index_alone() {
    let mut order = order();
    at_once(&mut order, 1, &write(&[(1, 1)]));
    at_once(&mut order, 2, &search("i"));
    at_once(&mut order, 3, &read(7, 1));
    at_once(&mut order, 4, &barrier("i"));
    at_once(&mut order, 5, &search("i"));
    at_once(&mut order, 6, &write(&[(2, 2)]));
    at_once(&mut order, 7, &barrier("j"));
    let first = ready(&mut order);
    assert_eq!(tickets(&first), [1, 3, 7]);
    order.done(first[0].id);
    let second = ready(&mut order);
    assert_eq!(tickets(&second), [2]);
    order.done(second[0].id);
    assert_eq!(order.take(), None);
    order.done(first[1].id);
    let third = ready(&mut order);
    assert_eq!(tickets(&third), [4]);
    order.done(third[0].id);
    assert_eq!(tickets(&ready(&mut order)), [5, 6]);
}

#[test]
fn a_barrier_waits_for_a_held_write_and_for_what_goes_before_that() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    at_once(&mut order, 2, &write(&[(1, 8)]));
    at_once(&mut order, 3, &barrier("i"));
    assert_eq!(order.take(), None);
    apply(&mut order, 1, &write(&[(1, 7)]));
    assert_eq!(
        run(&mut order),
        [(1, Items::All), (2, Items::All), (3, Items::All)]
    );
}

#[test]
fn a_barrier_on_a_pattern_covers_indices_that_come_later() {
    for scope in [Scope::Indices(vec![name("i*")]), Scope::All] {
        let mut order = order();
        let wide = Footprint {
            access: Access::Write,
            indices: scope,
            ..Footprint::default()
        };
        at_once(&mut order, 1, &wide);
        at_once(&mut order, 2, &write(&[(1, 1)]));
        at_once(&mut order, 3, &search("index"));
        at_once(&mut order, 4, &barrier("i-2*"));
        assert_eq!(tickets(&ready(&mut order)), [1]);
    }
}

#[test]
fn a_search_on_a_pattern_is_waited_for_on_indices_that_come_later() {
    let mut order = order();
    at_once(&mut order, 1, &search("i*"));
    at_once(&mut order, 2, &barrier("i"));
    at_once(&mut order, 3, &barrier("j"));
    assert_eq!(tickets(&ready(&mut order)), [1, 3]);
}

#[test]
fn tokens_go_in_order_of_completion() {
    let token = |access| Footprint {
        keys: vec![(Key(9), access)],
        ..Footprint::default()
    };
    for level in [Level::Causal, Level::Connection] {
        let mut order = Order::new(level, Memory::default());
        at_once(&mut order, 1, &token(Access::Write));
        at_once(&mut order, 2, &token(Access::Read));
        at_once(&mut order, 3, &token(Access::Read));
        at_once(&mut order, 4, &token(Access::Write));
        let first = ready(&mut order);
        assert_eq!(tickets(&first), [1]);
        order.done(first[0].id);
        assert_eq!(tickets(&ready(&mut order)), [2, 3]);
    }
}

#[test]
fn without_order_nothing_waits() {
    let mut order = Order::new(Level::None, Memory::default());
    order.begun(9, &write(&[(1, 0)]));
    at_once(&mut order, 1, &write(&[(1, 1)]));
    at_once(&mut order, 2, &barrier("*"));
    at_once(&mut order, 3, &write(&[(1, 2)]));
    assert_eq!(tickets(&ready(&mut order)), [1, 2, 3]);
}

#[test]
fn what_comes_without_a_beginning_begins_when_it_is_complete() {
    let mut order = order();
    apply(&mut order, 1, &write(&[(1, 9)]));
    apply(&mut order, 2, &write(&[(1, 3)]));
    assert_eq!(run(&mut order), [(1, Items::All), (2, Items::All)]);
}

#[test]
fn overlapping_writes_without_a_sequence_are_ambiguous_and_go_in_order_of_completion() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    at_once(&mut order, 2, &write(&[(1, 8)]));
    apply(&mut order, 1, &write(&[(1, 0)]));
    let expected = Ambiguity {
        by: 2,
        of: Of::Item(1, 0),
        reason: Reason::Unsequenced,
    };
    assert_eq!(ambiguous(&mut order), [expected]);
    assert_eq!(run(&mut order), [(2, Items::All), (1, Items::All)]);
    at_once(&mut order, 3, &write(&[(1, 0)]));
    at_once(&mut order, 4, &write(&[(1, 0)]));
    assert_eq!(ambiguous(&mut order), [], "these do not overlap");
}

#[test]
fn when_stuck_the_oldest_open_write_can_be_overruled_and_is_ambiguous() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    order.begun(2, &write(&[(1, 0)]));
    at_once(&mut order, 3, &write(&[(1, 8)]));
    assert!(order.is_stuck());
    assert_eq!(order.release_oldest(), Some(1));
    assert!(order.is_stuck(), "the other one still holds it");
    assert_eq!(order.release_oldest(), Some(2));
    assert_eq!(tickets(&ready(&mut order)), [3]);
    assert_eq!(order.release_oldest(), None);
    apply(&mut order, 1, &write(&[(1, 7)]));
    let told = ambiguous(&mut order);
    assert!(
        told.iter().all(|told| told.of == Of::Item(1, 0)),
        "{told:?}"
    );
    let reasons: Vec<Reason> = told.iter().map(|told| told.reason).collect();
    assert_eq!(reasons, [Reason::Overtaken, Reason::Released]);
}

#[test]
fn a_sweep_is_ambiguous_with_the_writes_that_it_overlaps() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    order.begun(2, &by_query("i"));
    at_once(&mut order, 3, &write(&[(2, 1)]));
    apply(&mut order, 2, &by_query("i"));
    apply(&mut order, 1, &write(&[(1, 2)]));
    at_once(&mut order, 4, &write(&[(3, 3)]));
    let overlap = |ticket| Ambiguity {
        by: 2,
        of: Of::Item(ticket, 0),
        reason: Reason::Overlap,
    };
    assert_eq!(ambiguous(&mut order), [overlap(3), overlap(1)]);
    assert_eq!(order.counters().sweeps, 0);
}

#[test]
fn a_sweep_is_ambiguous_with_writes_that_no_refresh_made_visible() {
    let mut order = order();
    at_once(&mut order, 1, &write(&[(1, 1)]));
    order.begun(2, &refresh("i"));
    at_once(&mut order, 3, &write(&[(2, 2)]));
    apply(&mut order, 2, &refresh("i"));
    at_once(&mut order, 4, &by_query("i"));
    let expected = Ambiguity {
        by: 4,
        of: Of::Item(3, 0),
        reason: Reason::Unrefreshed,
    };
    assert_eq!(ambiguous(&mut order), [expected]);
}

#[test]
fn a_write_that_waited_for_its_refresh_is_visible_to_a_sweep() {
    let mut order = order();
    let visible = Footprint {
        refresh: true,
        ..write(&[(1, 1)])
    };
    at_once(&mut order, 1, &visible);
    at_once(&mut order, 2, &by_query("i"));
    assert_eq!(ambiguous(&mut order), []);
}

#[test]
fn too_many_writes_to_list_make_a_sweep_ambiguous_with_the_whole_index_until_a_refresh() {
    let memory = Memory {
        writes_per_index: 3,
        ..Memory::default()
    };
    let mut order = Order::new(Level::Causal, memory);
    for ticket in 0..5 {
        at_once(&mut order, ticket, &write(&[(ticket, 1 + ticket)]));
    }
    at_once(&mut order, 10, &by_query("i"));
    let expected = Ambiguity {
        by: 10,
        of: Of::Index(name("i")),
        reason: Reason::Unrefreshed,
    };
    assert_eq!(ambiguous(&mut order), [expected]);
    assert_eq!(order.counters().remembered, 0);
    at_once(&mut order, 11, &refresh("*"));
    at_once(&mut order, 12, &by_query("i"));
    assert_eq!(ambiguous(&mut order), []);
}

#[test]
fn a_drain_gives_everything_back_once_and_late_ends_are_ignored() {
    let mut order = order();
    order.begun(1, &write(&[(1, 0)]));
    at_once(&mut order, 2, &write(&[(2, 1)]));
    at_once(&mut order, 3, &write(&[(2, 2)]));
    let flying = order.take().unwrap();
    assert_eq!(order.drain(), [1, 2, 3]);
    assert!(order.is_empty());
    assert_eq!(order.done(flying.id), None);
    at_once(&mut order, 4, &write(&[(2, 3)]));
    assert_eq!(order.done(flying.id), None, "its number is used again");
    assert_eq!(run(&mut order), [(4, Items::All)]);
}

/// Anything that bytes from outside could make of a footprint.
fn any_footprint() -> impl Strategy<Value = Footprint> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    let index = prop_oneof![Just("i"), Just("j"), Just("k")].prop_map(name);
    let sequence = prop::option::of(0_u64..5);
    let document = (index, 0_u64..3, access.clone(), sequence).prop_map(
        |(index, document, access, number)| Touch {
            index,
            ..touch(access, document, number, 0)
        },
    );
    let documents = prop::collection::vec(document, 0..4);
    let scope = prop_oneof![
        5 => Just(Scope::Nothing),
        1 => prop_oneof![Just("i"), Just("j"), Just("i*"), Just("-i"), Just("<k{now}>")]
            .prop_map(|expression| Scope::Indices(vec![name(expression)])),
        1 => Just(Scope::All),
    ];
    let sweep = prop_oneof![
        Just(Sweep::Nothing),
        Just(Sweep::Documents),
        Just(Sweep::Visible)
    ];
    let keys = prop::collection::vec(((0_u64..4).prop_map(Key), access.clone()), 0..2);
    let keys = prop_oneof![3 => Just(Vec::new()), 1 => keys];
    (access, documents, scope, sweep, keys, any::<bool>()).prop_map(
        |(access, mut documents, indices, sweep, keys, refresh)| {
            for (touch, item) in documents.iter_mut().zip(0..) {
                touch.item = item;
            }
            Footprint {
                access,
                documents,
                indices,
                sweep,
                keys,
                refresh,
            }
        },
    )
}

#[derive(Clone, Debug)]
enum Event {
    Begun(Ticket, Footprint),
    Apply(Ticket, Footprint),
    Leave(Ticket),
    Take,
    Done(usize),
    Release,
}

fn event() -> impl Strategy<Value = Event> {
    let ticket = 0_u64..8;
    prop_oneof![
        6 => (ticket.clone(), any_footprint()).prop_map(|(ticket, print)| Event::Begun(ticket, print)),
        6 => (ticket.clone(), any_footprint()).prop_map(|(ticket, print)| Event::Apply(ticket, print)),
        1 => ticket.prop_map(Event::Leave),
        3 => Just(Event::Take),
        3 => (0_usize..4).prop_map(Event::Done),
        1 => Just(Event::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_footprints_say_nothing_waits_in_a_circle_and_nothing_is_left(
        events in prop::collection::vec(event(), 0..80)
    ) {
        let mut order = order();
        let mut in_flight = Vec::new();
        let (mut applied, mut last) = (0, 0);
        for event in events {
            match event {
                Event::Begun(ticket, footprint) => order.begun(ticket, &footprint),
                Event::Apply(ticket, footprint) => {
                    apply(&mut order, ticket, &footprint);
                    applied += 1;
                }
                Event::Leave(ticket) => order.complete(ticket, Completed::Leave),
                Event::Take => in_flight.extend(order.take()),
                Event::Done(which) if which < in_flight.len() => {
                    let unit: Unit = in_flight.swap_remove(which);
                    last += usize::from(order.done(unit.id).unwrap().last);
                }
                Event::Done(_) => {}
                Event::Release if order.is_stuck() => {
                    prop_assert!(order.release_oldest().is_some());
                }
                Event::Release => {}
            }
            let counters = order.counters();
            prop_assert_eq!(counters.in_flight, in_flight.len());
        }
        for ticket in 0..8 {
            order.complete(ticket, Completed::Leave);
        }
        loop {
            in_flight.extend(std::iter::from_fn(|| order.take()));
            let Some(unit) = in_flight.pop() else { break };
            last += usize::from(order.done(unit.id).unwrap().last);
        }
        let counters = order.counters();
        prop_assert!(order.is_empty(), "{counters:?}");
        let left = (counters.keys, counters.indices, counters.sweeps, counters.open);
        prop_assert_eq!(left, (0, 0, 0, 0));
        prop_assert_eq!(applied, last);
    }
}

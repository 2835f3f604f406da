//! What the scheduler costs per operation: begun, complete, take and done, with 64 operations open.
//!
//! `causal` beside `none` in one run tells what the order costs over the same calls without it.

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use exchange::operation::Access;
use exchange::operation::answer::Sequence;
use shadow::order::{Completed, Footprint, Key, Keys, Level, Memory, Order, Scope, Touch, UnitId};

const OPERATIONS: usize = 100_000;
const OPEN: usize = 64;
const IN_FLIGHT: usize = 32;

fn order(c: &mut Criterion) {
    let mut group = c.benchmark_group("order");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    group.sample_size(20);
    for documents in [10_000, 64] {
        let history = history(documents);
        for (name, level) in [("causal", Level::Causal), ("none", Level::None)] {
            let id = BenchmarkId::new(name, format!("{documents} documents"));
            group.bench_with_input(id, &history, |b, history| b.iter(|| run(history, level)));
        }
    }
    group.finish();
}

/// An operation as the request tells it and as the answer does.
struct Operation {
    begun: Footprint,
    complete: Footprint,
}

/// 70 of 100 write a document, 20 search an index, 10 are a `_bulk` of 10 documents.
fn history(documents: u64) -> Vec<Operation> {
    let mut random = Random(7);
    let keys = Keys::default();
    let indices =
        ["logs-1", "logs-2", "users", "orders"].map(|name| Bytes::from_static(name.as_bytes()));
    let operation = |number: usize| {
        let kind = random.below(100);
        let mut touch = |item| {
            let document = random.below(documents);
            let index = indices
                .get((document % 4) as usize)
                .cloned()
                .unwrap_or_default();
            let sequence = Some(Sequence {
                term: 1,
                number: (number * 10 + item) as u64,
            });
            Touch {
                key: document_key(&keys, &index, document),
                index,
                access: Access::Write,
                sequence,
                item: u32::try_from(item).unwrap_or(0),
            }
        };
        let mut complete = Footprint::default();
        match kind {
            0..70 => complete.documents = vec![touch(0)],
            70..90 => complete.indices = Scope::Indices(vec![touch(0).index]),
            _ => complete.documents = (0..10).map(touch).collect(),
        }
        let mut begun = complete.clone();
        for touch in &mut begun.documents {
            touch.sequence = None;
        }
        Operation { begun, complete }
    };
    (0..OPERATIONS).map(operation).collect()
}

fn document_key(keys: &Keys, index: &[u8], document: u64) -> Key {
    keys.document(index, None, &document.to_le_bytes())
}

fn run(history: &[Operation], level: Level) -> usize {
    let mut order = Order::new(level, Memory::default());
    let mut random = Random(11);
    let mut open: Vec<usize> = Vec::with_capacity(OPEN);
    let mut in_flight: VecDeque<UnitId> = VecDeque::with_capacity(IN_FLIGHT);
    let mut units = 0;
    for (number, operation) in history.iter().enumerate() {
        order.begun(number as u64, &operation.begun);
        open.push(number);
        if open.len() == OPEN {
            // Answers come in another order than requests.
            let ended = open.swap_remove(usize::try_from(random.below(OPEN as u64)).unwrap_or(0));
            answer(&mut order, history, ended);
        }
        units += send(&mut order, &mut in_flight);
    }
    for ended in open {
        answer(&mut order, history, ended);
    }
    while !order.is_empty() {
        units += send(&mut order, &mut in_flight);
        if let Some(unit) = in_flight.pop_front() {
            order.done(unit);
        }
    }
    black_box(units)
}

fn answer(order: &mut Order, history: &[Operation], number: usize) {
    if let Some(operation) = history.get(number) {
        order.complete(number as u64, Completed::Apply(&operation.complete));
    }
}

fn send(order: &mut Order, in_flight: &mut VecDeque<UnitId>) -> usize {
    let mut sent = 0;
    while let Some(unit) = order.take() {
        sent += 1;
        in_flight.push_back(unit.id);
        if in_flight.len() == IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            order.done(oldest);
        }
    }
    sent
}

/// xorshift64*, so that every run is the same.
struct Random(u64);

impl Random {
    const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

criterion_group!(benches, order);
criterion_main!(benches);

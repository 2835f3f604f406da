//! Clients that use a primary at the same time, its journal, and a shadow that runs what `Order` hands out. The
//! checks are made while it runs and at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use exchange::operation::Access;
use exchange::operation::answer::Sequence;
use proptest::prelude::*;
use shadow::order::{
    Completed, Counters, Footprint, Items, Key, Level, Memory, Of, Order, Scope, Sweep, Touch, Unit,
};

use crate::cluster::{Cluster, INDICES, Id, Sweeping, Write};

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Write {
        items: Vec<(Id, Write)>,
        refresh: bool,
    },
    /// The primary chooses the id.
    Create {
        index: usize,
    },
    /// One that the primary chose an id for, and that a client has been told.
    Follow {
        which: usize,
        write: Write,
    },
    Get(Id),
    Mget(Vec<Id>),
    Search(Where),
    Refresh(Where),
    Sweep(Where, Sweeping),
    Token(u64, bool),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Where {
    Index(usize),
    Pattern,
    All,
}

impl Where {
    fn indices(self) -> Vec<usize> {
        match self {
            Self::Index(index) => vec![index],
            Self::Pattern => vec![0, 1],
            Self::All => vec![0, 1, 2],
        }
    }

    fn scope(self) -> Scope {
        match self {
            Self::Index(index) => Scope::Indices(vec![name(index)]),
            Self::Pattern => Scope::Indices(vec![Bytes::from_static(b"a*")]),
            Self::All => Scope::All,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The client sends this, if it is not waiting for an answer.
    Begin(usize, Kind),
    /// The primary does the next item of what the client sent.
    Execute(usize),
    /// The primary ends what the client sent; the answer may be lost.
    Answer(usize, bool),
    /// The primary never does it.
    Refuse(usize),
    PrimaryRefreshes(usize),
    ShadowRefreshes(usize),
    /// The shadow gets a unit and does so many items at once.
    Take(usize),
    /// One of those in flight ends.
    Done(usize),
    /// The engine is full, so it goes on if it is stuck.
    Release,
}

/// What may happen in a history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) clients: usize,
    pub(crate) documents: u32,
    pub(crate) lost: bool,
    pub(crate) sweeps: bool,
}

pub(crate) fn steps(weather: Weather) -> impl Strategy<Value = Vec<Step>> {
    let clients = 0..weather.clients;
    let step = prop_oneof![
        8 => (clients.clone(), kind(weather)).prop_map(|(client, kind)| Step::Begin(client, kind)),
        16 => clients.clone().prop_map(Step::Execute),
        8 => (clients.clone(), prop::bool::weighted(if weather.lost { 0.1 } else { 0.0 }))
            .prop_map(|(client, lost)| Step::Answer(client, lost)),
        1 => clients.prop_map(Step::Refuse),
        1 => (0..INDICES.len()).prop_map(Step::PrimaryRefreshes),
        1 => (0..INDICES.len()).prop_map(Step::ShadowRefreshes),
        6 => (0_usize..4).prop_map(Step::Take),
        5 => (0_usize..8).prop_map(Step::Done),
        if weather.lost { 1 } else { 0 } => Just(Step::Release),
    ];
    prop::collection::vec(step, 0..240)
}

fn kind(weather: Weather) -> impl Strategy<Value = Kind> {
    let id = (0..INDICES.len(), 0..weather.documents);
    let write = prop_oneof![
        2 => Just(Write::Index),
        3 => Just(Write::Append),
        1 => Just(Write::Delete),
    ];
    let place = prop_oneof![
        3 => (0..INDICES.len()).prop_map(Where::Index),
        1 => Just(Where::Pattern),
        1 => Just(Where::All),
    ];
    let items = |most| prop::collection::vec((id.clone(), write.clone()), 1..most);
    let sweeping = prop_oneof![
        Just(Sweeping::Mark),
        Just(Sweeping::Drop),
        Just(Sweeping::ByQuery)
    ];
    prop_oneof![
        6 => (items(2), prop::bool::weighted(0.2))
            .prop_map(|(items, refresh)| Kind::Write { items, refresh }),
        5 => (items(6), prop::bool::weighted(0.2))
            .prop_map(|(items, refresh)| Kind::Write { items, refresh }),
        1 => (0..INDICES.len()).prop_map(|index| Kind::Create { index }),
        1 => (any::<usize>(), write.clone()).prop_map(|(which, write)| Kind::Follow { which, write }),
        4 => id.clone().prop_map(Kind::Get),
        1 => prop::collection::vec(id.clone(), 2..4).prop_map(Kind::Mget),
        2 => place.clone().prop_map(Kind::Search),
        1 => place.clone().prop_map(Kind::Refresh),
        if weather.sweeps { 2 } else { 0 } => (place, sweeping)
            .prop_map(|(place, sweeping)| Kind::Sweep(place, sweeping)),
        1 => (0_u64..2, any::<bool>()).prop_map(|(token, write)| Kind::Token(token, write)),
    ]
}

fn name(index: usize) -> Bytes {
    Bytes::from_static(INDICES[index].as_bytes())
}

fn key((index, id): Id) -> Key {
    Key((index as u64) << 32 | u64::from(id))
}

fn id_of(key: Key) -> Id {
    ((key.0 >> 32) as usize, key.0 as u32)
}

/// One operation, from its beginning to its end on the shadow.
#[derive(Clone, Debug)]
struct Operation {
    kind: Kind,
    begun: u64,
    complete: Option<u64>,
    /// For each item: what the primary gave it, once done.
    executed: Vec<Option<Sequence>>,
    steps: usize,
    items: Vec<(Id, Write)>,
    seen: BTreeMap<Id, Option<(Vec<u32>, Sequence)>>,
    lost: bool,
    applied: Option<Footprint>,
    given: BTreeSet<u32>,
    ended: BTreeSet<u32>,
    done: bool,
    shadow_saw: BTreeMap<Id, Option<Vec<u32>>>,
    /// When the shadow was given it first.
    taken: Option<u64>,
}

impl Operation {
    fn access(&self) -> Access {
        match self.kind {
            Kind::Sweep(..) => Access::Write,
            _ => Access::Read,
        }
    }

    fn place(&self) -> Option<Where> {
        match self.kind {
            Kind::Search(place) | Kind::Refresh(place) | Kind::Sweep(place, _) => Some(place),
            _ => None,
        }
    }

    fn reads(&self) -> Vec<Id> {
        match &self.kind {
            Kind::Get(id) => vec![*id],
            Kind::Mget(ids) => ids.clone(),
            _ => Vec::new(),
        }
    }

    fn refresh(&self) -> bool {
        matches!(
            self.kind,
            Kind::Refresh(_) | Kind::Write { refresh: true, .. }
        )
    }

    /// The documents that it writes on the shadow too.
    fn written(&self) -> Vec<Id> {
        let documents = self
            .applied
            .iter()
            .flat_map(|footprint| &footprint.documents);
        let writes = documents.filter(|touch| touch.access == Access::Write);
        writes
            .map(|touch| self.items[touch.item as usize].0)
            .collect()
    }

    fn writes(&self, id: Id) -> bool {
        self.written().contains(&id)
    }

    fn indices(&self) -> BTreeSet<usize> {
        let items: BTreeSet<u32> = self.documents().map(|touch| touch.item).collect();
        self.some(&items).indices()
    }

    fn documents(&self) -> impl Iterator<Item = &Touch> {
        self.applied
            .iter()
            .flat_map(|footprint| &footprint.documents)
    }

    /// Some of its items.
    fn some(&self, items: &BTreeSet<u32>) -> Share<'_> {
        let of = |access| {
            let documents = self.documents().filter(|touch| touch.access == access);
            let documents = documents.filter(|touch| items.contains(&touch.item));
            documents.map(|touch| id_of(touch.key)).collect()
        };
        Share {
            operation: self,
            writes: of(Access::Write),
            reads: of(Access::Read),
        }
    }

    /// What of it has not ended.
    fn rest(&self) -> Share<'_> {
        let items = self.documents().map(|touch| touch.item);
        self.some(&items.filter(|item| !self.ended.contains(item)).collect())
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before =
            |one: &Self, two: &Self| one.complete.is_some_and(|complete| complete < two.begun);
        !before(self, other) && !before(other, self)
    }

    fn footprint(&self, known: bool) -> Footprint {
        let mut documents = Vec::new();
        let chosen = matches!(self.kind, Kind::Create { .. });
        for (item, (id, _)) in self.items.iter().enumerate() {
            let sequence = self.executed.get(item).copied().flatten();
            // A refused item is left out; when the answer is lost nobody knows.
            if known && !self.lost && sequence.is_none() || !known && chosen {
                continue;
            }
            documents.push(Touch {
                index: name(id.0),
                key: key(*id),
                access: Access::Write,
                sequence: sequence.filter(|_| known && !self.lost),
                item: item as u32,
            });
        }
        for (item, id) in self.reads().into_iter().enumerate() {
            let seen = self.seen.get(&id).cloned().flatten();
            documents.push(Touch {
                index: name(id.0),
                key: key(id),
                access: Access::Read,
                sequence: seen
                    .map(|(_, sequence)| sequence)
                    .filter(|_| known && !self.lost),
                item: item as u32,
            });
        }
        Footprint {
            access: self.access(),
            documents,
            indices: self.place().map_or(Scope::Nothing, Where::scope),
            sweep: match self.kind {
                Kind::Sweep(_, Sweeping::ByQuery) => Sweep::Visible,
                Kind::Sweep(..) => Sweep::Documents,
                _ => Sweep::Nothing,
            },
            keys: match self.kind {
                Kind::Token(token, true) => vec![(Key(1 << 60 | token), Access::Write)],
                Kind::Token(token, false) => vec![(Key(1 << 60 | token), Access::Read)],
                _ => Vec::new(),
            },
            refresh: self.refresh(),
        }
    }
}

/// An operation, or some items of it.
#[derive(Debug)]
struct Share<'a> {
    operation: &'a Operation,
    writes: Vec<Id>,
    reads: Vec<Id>,
}

impl Share<'_> {
    fn indices(&self) -> BTreeSet<usize> {
        let documents = self.writes.iter().chain(&self.reads).map(|id| id.0);
        let whole = self.operation.place().into_iter().flat_map(Where::indices);
        documents.chain(whole).collect()
    }

    /// Whether this one, which definitely came first, must be done before the other goes.
    fn conflicts(&self, later: &Self) -> bool {
        let shared = self
            .indices()
            .intersection(&later.indices())
            .next()
            .is_some();
        let touched = |id: &Id| later.writes.contains(id) || later.reads.contains(id);
        let documents = self.writes.iter().any(touched)
            || self.reads.iter().any(|id| later.writes.contains(id));
        let barrier = |share: &Self| matches!(share.operation.kind, Kind::Sweep(..));
        let search = |share: &Self| matches!(share.operation.kind, Kind::Search(_));
        let indices = barrier(self)
            || barrier(later)
            || later.operation.place().is_some() && !self.writes.is_empty()
            || search(later) && self.operation.refresh()
            || search(self) && later.operation.refresh();
        let tokens = match (&self.operation.kind, &later.operation.kind) {
            (Kind::Token(one, write), Kind::Token(two, other)) => one == two && (*write || *other),
            _ => false,
        };
        documents || indices && shared || tokens
    }
}

struct Flight {
    items: BTreeSet<u32>,
    unit: Unit,
    /// Items that are still to be done.
    rest: Vec<u32>,
    whole: bool,
}

/// A whole run.
pub(crate) struct History {
    order: Order,
    event: u64,
    operations: Vec<Operation>,
    clients: HashMap<usize, usize>,
    created: Vec<Id>,
    primary: Cluster,
    shadow: Cluster,
    flights: Vec<Flight>,
    pub(crate) ambiguous: BTreeSet<Id>,
    pub(crate) told: usize,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            order: Order::new(Level::Causal, Memory::default()),
            event: 0,
            operations: Vec::new(),
            clients: HashMap::new(),
            created: Vec::new(),
            primary: Cluster::default(),
            shadow: Cluster::default(),
            flights: Vec::new(),
            ambiguous: BTreeSet::new(),
            told: 0,
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Begin(client, kind) => self.begin(*client, kind.clone()),
            Step::Execute(client) => self.execute(*client),
            Step::Answer(client, lost) => self.answer(*client, *lost),
            Step::Refuse(client) => self.refuse(*client),
            Step::PrimaryRefreshes(index) => self.primary.refresh(&[*index]),
            Step::ShadowRefreshes(index) => self.shadow.refresh(&[*index]),
            Step::Take(items) => {
                self.take(*items);
            }
            Step::Done(which) if !self.flights.is_empty() => {
                self.done(which % self.flights.len());
            }
            Step::Done(_) => {}
            Step::Release => self.release(),
        }
        self.note_ambiguous();
    }

    fn tick(&mut self) -> u64 {
        self.event += 1;
        self.event
    }

    fn begin(&mut self, client: usize, kind: Kind) {
        if self.clients.contains_key(&client) {
            return;
        }
        let number = self.operations.len();
        let items = match &kind {
            Kind::Write { items, .. } => items.clone(),
            Kind::Create { index } => vec![((*index, 1000 + number as u32), Write::Index)],
            Kind::Follow { which, write } if !self.created.is_empty() => {
                vec![(self.created[which % self.created.len()], write.clone())]
            }
            _ => Vec::new(),
        };
        let operation = Operation {
            begun: self.tick(),
            complete: None,
            executed: Vec::new(),
            steps: 0,
            items,
            seen: BTreeMap::new(),
            lost: false,
            applied: None,
            given: BTreeSet::new(),
            ended: BTreeSet::new(),
            done: false,
            shadow_saw: BTreeMap::new(),
            taken: None,
            kind,
        };
        self.order.begun(number as u64, &operation.footprint(false));
        self.operations.push(operation);
        self.clients.insert(client, number);
    }

    /// Returns whether there was something left to do.
    fn execute_one(&mut self, number: usize) -> bool {
        let operation = &mut self.operations[number];
        let refresh = operation.refresh();
        let step = operation.steps;
        operation.steps += 1;
        if let Some((id, write)) = operation.items.get(step) {
            let number = number_of(number, step);
            let sequence = self.primary.write(*id, write, number, refresh);
            operation.executed.push(sequence);
            return true;
        }
        if let Some(id) = operation.reads().get(step) {
            operation.seen.insert(*id, self.primary.get(*id));
            return true;
        }
        if step > 0 {
            return false;
        }
        match operation.kind {
            Kind::Refresh(place) => self.primary.refresh(&place.indices()),
            Kind::Sweep(place, sweeping) => {
                self.primary
                    .sweep(&place.indices(), sweeping, number_of(number, 0));
            }
            _ => {}
        }
        true
    }

    fn execute(&mut self, client: usize) {
        if let Some(number) = self.clients.get(&client) {
            self.execute_one(*number);
        }
    }

    fn answer(&mut self, client: usize, lost: bool) {
        let Some(number) = self.clients.remove(&client) else {
            return;
        };
        while self.execute_one(number) {}
        self.operations[number].lost = lost;
        let complete = self.tick();
        let operation = &mut self.operations[number];
        operation.complete = Some(complete);
        if matches!(operation.kind, Kind::Create { .. }) && !lost {
            self.created.push(operation.items[0].0);
        }
        let footprint = operation.footprint(true);
        let nothing = footprint.documents.is_empty() && !operation.items.is_empty();
        // An id that was lost with the answer cannot be pinned.
        let unknown = lost && matches!(operation.kind, Kind::Create { .. });
        if nothing || unknown {
            if unknown {
                self.ambiguous.insert(operation.items[0].0);
            }
            self.order.complete(number as u64, Completed::Leave);
            return;
        }
        operation.applied = Some(footprint.clone());
        self.order
            .complete(number as u64, Completed::Apply(&footprint));
    }

    fn refuse(&mut self, client: usize) {
        let Some(number) = self.clients.get(&client).copied() else {
            return;
        };
        if self.operations[number].steps > 0 {
            return;
        }
        self.clients.remove(&client);
        self.operations[number].complete = Some(self.tick());
        self.operations[number].items.clear();
        self.operations[number].kind = Kind::Token(99, false);
        self.order.complete(number as u64, Completed::Leave);
    }

    fn release(&mut self) {
        if self.order.is_stuck() {
            assert!(!self.clients.is_empty(), "stuck with nothing open");
            assert!(
                self.order.release_oldest().is_some(),
                "stuck, and nothing holds"
            );
        }
    }

    fn take(&mut self, at_once: usize) -> bool {
        let Some(unit) = self.order.take() else {
            return false;
        };
        let number = usize::try_from(unit.ticket).unwrap();
        let event = self.event;
        let operation = &mut self.operations[number];
        operation.taken.get_or_insert(event);
        let footprint = operation
            .applied
            .clone()
            .expect("nothing of it was to be sent");
        let all: Vec<u32> = footprint.documents.iter().map(|touch| touch.item).collect();
        let mut items = match &unit.items {
            Items::All => all,
            Items::Some(items) => {
                assert!(!items.is_empty() && items.iter().all(|item| all.contains(item)));
                items.clone()
            }
        };
        for item in &items {
            assert!(operation.given.insert(*item), "an item was given twice");
        }
        let given: BTreeSet<u32> = items.iter().copied().collect();
        self.check_definite(number, &given);
        let rest = items.split_off(at_once.min(items.len()));
        let mut flight = Flight {
            items: given,
            unit,
            rest: Vec::new(),
            whole: true,
        };
        flight.rest = items;
        self.run(&mut flight, at_once > 1);
        flight.rest = rest;
        self.flights.push(flight);
        true
    }

    fn run(&mut self, flight: &mut Flight, whole: bool) {
        let number = usize::try_from(flight.unit.ticket).unwrap();
        let operation = &mut self.operations[number];
        let refresh = operation.refresh();
        for item in std::mem::take(&mut flight.rest) {
            let at = item as usize;
            if let Some((id, write)) = operation.items.get(at) {
                self.shadow
                    .write(*id, write, number_of(number, at), refresh);
            } else {
                let id = operation.reads()[at];
                let seen = self.shadow.get(id).map(|(content, _)| content);
                operation.shadow_saw.insert(id, seen);
            }
        }
        if !whole || !std::mem::take(&mut flight.whole) {
            return;
        }
        match operation.kind {
            Kind::Refresh(place) => self.shadow.refresh(&place.indices()),
            Kind::Sweep(place, sweeping) => {
                self.shadow
                    .sweep(&place.indices(), sweeping, number_of(number, 0));
            }
            _ => {}
        }
    }

    fn done(&mut self, which: usize) {
        let mut flight = self.flights.swap_remove(which);
        self.run(&mut flight, true);
        let ended = self.order.done(flight.unit.id).expect("it is in flight");
        assert_eq!(ended.ticket, flight.unit.ticket);
        assert_eq!(self.order.done(flight.unit.id), None, "it ended before");
        let operation = &mut self.operations[usize::try_from(ended.ticket).unwrap()];
        let all = operation
            .applied
            .as_ref()
            .map_or(0, |footprint| footprint.documents.len());
        let others = self
            .flights
            .iter()
            .any(|other| other.unit.ticket == ended.ticket);
        assert_eq!(ended.last, operation.given.len() == all && !others);
        assert!(!operation.done);
        operation.ended.extend(&flight.items);
        operation.done = ended.last;
    }

    /// Everything that must be done before it, because it was complete before it began, is done.
    fn check_definite(&self, number: usize, items: &BTreeSet<u32>) {
        let later = &self.operations[number];
        let unit = later.some(items);
        for earlier in &self.operations {
            let definite = earlier
                .complete
                .is_some_and(|complete| complete < later.begun);
            if definite && earlier.applied.is_some() && !earlier.done {
                let rest = earlier.rest();
                assert!(
                    !rest.conflicts(&unit),
                    "{unit:?} went before {rest:?} was done"
                );
            }
        }
    }

    fn note_ambiguous(&mut self) {
        let told: Vec<_> = self.order.ambiguous().collect();
        self.told += told.len();
        for ambiguity in told {
            match ambiguity.of {
                Of::Item(ticket, item) => {
                    let operation = &self.operations[usize::try_from(ticket).unwrap()];
                    self.ambiguous.insert(operation.items[item as usize].0);
                }
                Of::Operation(ticket) => {
                    let operation = &self.operations[usize::try_from(ticket).unwrap()];
                    self.all_in(&operation.indices());
                }
                Of::Index(name) if name == "*" => self.all_in(&BTreeSet::from([0, 1, 2])),
                Of::Index(name) if name == "a*" => self.all_in(&BTreeSet::from([0, 1])),
                Of::Index(name) => {
                    let index = INDICES.iter().position(|index| name == *index);
                    self.all_in(&BTreeSet::from([index.unwrap()]));
                }
            }
        }
    }

    fn all_in(&mut self, indices: &BTreeSet<usize>) {
        let documents = self
            .operations
            .iter()
            .flat_map(|operation| &operation.items);
        let documents = documents
            .map(|(id, _)| *id)
            .filter(|id| indices.contains(&id.0));
        self.ambiguous.extend(documents);
    }

    /// Everything ends.
    pub(crate) fn finish(&mut self) {
        let open: Vec<usize> = self.clients.keys().copied().collect();
        for client in open {
            self.answer(client, false);
            self.note_ambiguous();
        }
        loop {
            while self.take(usize::from(self.flights.len().is_multiple_of(2))) {}
            if self.flights.is_empty() {
                break;
            }
            self.done(self.flights.len() / 2);
        }
    }

    /// Nothing is lost and nothing is left.
    pub(crate) fn check_nothing_left(&self) {
        let counters = self.order.counters();
        assert!(
            self.order.is_empty(),
            "stuck with nothing open: {counters:?}"
        );
        let left = (
            counters.keys,
            counters.indices,
            counters.sweeps,
            counters.waiting,
        );
        assert_eq!(left, (0, 0, 0, 0));
        assert_eq!(
            (counters.ready, counters.in_flight, counters.open),
            (0, 0, 0)
        );
        for operation in &self.operations {
            let Some(footprint) = &operation.applied else {
                continue;
            };
            let all: BTreeSet<u32> = footprint.documents.iter().map(|touch| touch.item).collect();
            assert_eq!(operation.given, all, "{operation:?}");
            assert!(operation.done);
        }
    }

    /// The documents are those of the primary.
    pub(crate) fn check_documents(&self) {
        let (mut primary, mut shadow) = (self.primary.contents(), self.shadow.contents());
        primary.retain(|id, _| !self.ambiguous.contains(id));
        shadow.retain(|id, _| !self.ambiguous.contains(id));
        assert_eq!(primary, shadow, "primary and shadow");
    }

    /// What a client read by id, it read on the shadow too.
    pub(crate) fn check_reads(&self) -> usize {
        let mut checked = 0;
        for read in &self.operations {
            let (Kind::Get(id), Some(_)) = (&read.kind, &read.applied) else {
                continue;
            };
            let seen = read.seen[id].clone();
            if self.ambiguous.contains(id) || self.is_open_to_doubt(read, *id) {
                continue;
            }
            checked += 1;
            let seen = seen.map(|(content, _)| content);
            assert_eq!(read.shadow_saw[id], seen, "{read:?}");
        }
        checked
    }

    fn is_open_to_doubt(&self, read: &Operation, id: Id) -> bool {
        let sequence = read.seen[&id].as_ref().map(|(_, sequence)| *sequence);
        self.operations.iter().any(|other| {
            if !other.overlaps(read) {
                return false;
            }
            let swept = matches!(other.kind, Kind::Sweep(..)) && other.indices().contains(&id.0);
            let unsequenced = other.writes(id) && (sequence.is_none() || read.lost || other.lost);
            // A later write had gone before the read's answer came.
            let gone =
                other.writes(id) && other.taken <= read.complete && other.complete < read.complete;
            swept || unsequenced || gone
        })
    }

    pub(crate) fn counters(&self) -> Counters {
        self.order.counters()
    }
}

fn number_of(operation: usize, item: usize) -> u32 {
    u32::try_from(operation * 100 + item).unwrap()
}

//! The sessions: which tokens of the primary stand for which token of the shadow.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use exchange::Request;

use super::api::Origin;
use super::edit::{Edit, left_out, spliced};
use super::event::{Event, Held, What};
use super::request::{At, Document, Reading, Spot, read};
use super::{Asked, Found, Reason, Token, TokenKind, Told, Unmappable, Use, close, url};
use crate::Change;

/// Elasticsearch looks for contexts to close once a minute (`search.keep_alive_interval`), so they may serve that
/// much longer than asked for.
const GRACE_US: u64 = 60_000_000;

/// A session whose life is prolonged by less is not written down again.
const STEP_US: u64 = 30_000_000;

/// Tokens of the primary that one session is known by, the latest ones: clients send the latest.
const NAMES: usize = 16;

/// Ends of pages that one session knows, the latest ones: more than parallel slices are in use.
const POSITIONS: usize = 128;

/// Bytes that a session, and a token in it, take in memory beside the tokens themselves, roughly.
const FIXED: usize = 256;

/// How much [`Sessions`] may hold. What is still open on the target and no longer of use to the primary is held besides,
/// within the same limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub sessions: usize,
    /// Bytes of memory, roughly.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// What became of sessions since the process began, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions now.
    pub sessions: usize,
    /// Bytes that they take, roughly.
    pub bytes: usize,
    /// Contexts that are open on the target and of no more use.
    pub left_open: usize,
    /// Opened.
    pub opened: u64,
    /// Closed by the client.
    pub closed: u64,
    /// Not used within their keep-alive.
    pub expired: u64,
    /// Forgotten to stay within [`Limits`], the one that was not used for longest first.
    pub evicted: u64,
    /// Contexts left open on the target that were forgotten to stay within [`Limits`]; they end by their keep-alive.
    pub leaked: u64,
}

/// What [`Sessions::rewrite`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Tokens in the request that the target knows.
    pub mapped: usize,
    /// Tokens that were left out of a list, because the target does not know them.
    pub left_out: usize,
}

/// All sessions of one target.
#[derive(Debug)]
pub struct Sessions {
    limits: Limits,
    sessions: HashMap<u64, Session>,
    pub(super) by_token: HashMap<(TokenKind, Bytes), u64>,
    by_end: BTreeSet<(u64, u64)>,
    pub(super) by_use: BTreeSet<(u64, u64)>,
    left_open: VecDeque<(Origin, Bytes)>,
    left_open_bytes: usize,
    next: u64,
    tick: u64,
    counts: Counts,
}

#[derive(Clone, Debug)]
struct Session {
    origin: Origin,
    /// Tokens of the primary, the latest one last.
    primary: VecDeque<Bytes>,
    shadow: Held,
    until_us: u64,
    keep_us: u64,
    used: u64,
    /// Ends of pages: as the primary's are known, and as the shadow told them.
    positions: VecDeque<(Bytes, Bytes)>,
}

impl Session {
    fn weight(&self) -> usize {
        let names: usize = self.primary.iter().map(|name| name.len() + FIXED).sum();
        let positions = self.positions.iter();
        let positions: usize = positions.map(|(a, b)| a.len() + b.len() + FIXED).sum();
        let shadow = match &self.shadow {
            Held::Token(token) => token.len(),
            Held::Without(_) => 0,
        };
        FIXED + names + positions + shadow
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Sessions {
    /// No sessions yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: HashMap::new(),
            by_token: HashMap::new(),
            by_end: BTreeSet::new(),
            by_use: BTreeSet::new(),
            left_open: VecDeque::new(),
            left_open_bytes: 0,
            next: 0,
            tick: 0,
            counts: Counts::default(),
        }
    }

    /// The sessions that these events lead to, in their order.
    #[must_use]
    pub fn restored(limits: Limits, events: impl IntoIterator<Item = Event>) -> Self {
        let mut sessions = Self::new(limits);
        for event in events {
            sessions.apply(&event);
        }
        sessions.counts = Counts::default();
        sessions
    }

    /// As few events as lead to the present sessions: for a file of events that grew too long.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (origin, token) in &self.left_open {
            events.push(Event(What::Orphan {
                origin: *origin,
                token: token.clone(),
            }));
        }
        for (_, number) in &self.by_use {
            let Some(session) = self.sessions.get(number) else {
                continue;
            };
            events.push(Event(What::Learnt {
                session: *number,
                origin: session.origin,
                primary: session.primary.iter().cloned().collect(),
                shadow: Some(session.shadow.clone()),
                until_us: session.until_us,
                keep_us: session.keep_us,
            }));
            for (position, values) in &session.positions {
                events.push(Event(What::Placed {
                    session: *number,
                    position: position.clone(),
                    values: values.clone(),
                }));
            }
        }
        events
    }

    /// Learns from both answers to one exchange: `None` where there is no answer. `now_us` is the time of the
    /// primary's response in Unix microseconds, in a replay too: it is the primary's client that must use a
    /// session in time.
    ///
    /// Call it once for each exchange that is settled, also when the shadow gave no answer or was not asked: a scroll
    /// of which it did not get a page is of no more use there. Keep the events before the exchange counts as
    /// settled.
    pub fn learn(
        &mut self,
        asked: &Asked,
        primary: Option<&Told>,
        shadow: Option<&Told>,
        now_us: u64,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        if asked.is_nothing() {
            return events;
        }
        let seen = Seen {
            asked,
            primary,
            shadow,
            now_us,
        };
        self.learn_closed(&seen, &mut events);
        for (slot, kind) in seen.slots() {
            if asked.found.iter().any(|found| carries(found, slot, kind)) {
                self.learn_page(&seen, slot, kind, &mut events);
            } else {
                self.learn_opening(&seen, slot, kind, &mut events);
            }
        }
        for search in &asked.searches {
            self.learn_position(&seen, search.slot, &mut events);
        }
        self.evict(&mut events);
        events
    }

    /// Forgets the sessions whose keep-alive is over. `now_us` is a time before which every exchange is
    /// settled, in Unix microseconds of the capture.
    pub fn expire(&mut self, now_us: u64) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(&(until_us, session)) = self.by_end.first()
            && until_us < now_us
        {
            self.record(What::Abandoned { session }, &mut events);
            self.counts.expired += 1;
        }
        events
    }

    /// Puts the target's tokens in place of the primary's. All bytes besides stay, except that a body with a content
    /// coding loses it, and that `source` in a query is percent-encoded anew.
    ///
    /// # Errors
    /// When a token is not known on the target. The request is as it was, and must not be sent. Of a
    /// list, the tokens that are not known are left out, as long as one stays.
    pub fn rewrite(
        &self,
        request: &mut Request,
        changes: &mut Vec<Change>,
    ) -> Result<Rewritten, Unmappable> {
        let Some(reading) = read(request) else {
            return Ok(Rewritten::default());
        };
        if let Some(kind) = reading.unreadable() {
            let reason = Reason::Unreadable;
            return Err(Unmappable { kind, reason });
        }
        if reading.spots.is_empty() {
            return Ok(Rewritten::default());
        }
        let plan = self.plan(&reading)?;
        let Document { source, coded, .. } = reading.document;
        let mut target = plan.target;
        let document = match plan.document.is_empty() {
            true => None,
            false => Some(edited(&reading.document.bytes, plan.document)?),
        };
        if target.is_empty() && document.is_none() {
            return Ok(plan.done);
        }
        changes.push(Change::TokenMapped);
        match (document, source) {
            (Some(text), Some(range)) => target.push(Edit {
                range,
                with: url::encoded(&text),
            }),
            (Some(text), None) => {
                request.body.content = text.into();
                if coded {
                    let fields = &mut request.headers.0;
                    fields.retain(|field| !field.name.eq_ignore_ascii_case(b"content-encoding"));
                    changes.push(Change::Decoded);
                }
            }
            (None, _) => {}
        }
        if !target.is_empty() {
            request.target = edited(&request.target, target)?.into();
        }
        Ok(plan.done)
    }

    /// Requests that close everything that is open on the target, for when nothing more will be sent. They carry no
    /// id, and only a content type as header. Tasks are not stopped.
    #[must_use]
    pub fn close_requests(&self) -> Vec<Request> {
        let live = self
            .sessions
            .values()
            .filter_map(|session| match &session.shadow {
                Held::Token(token) => Some((session.origin, token)),
                Held::Without(_) => None,
            });
        close::requests(self.left_open().chain(live))
    }

    /// Requests that close what the primary has no more use for and is still open on the target, and forgets
    /// it. In a replay that is faster than the capture, contexts would pile up otherwise; live, they end by
    /// their keep-alive all the same.
    pub fn take_left_open(&mut self) -> Vec<Request> {
        let requests = close::requests(self.left_open());
        self.left_open.clear();
        self.left_open_bytes = 0;
        requests
    }

    /// What became of sessions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len(),
            left_open: self.left_open.len(),
            ..self.counts
        }
    }

    fn left_open(&self) -> impl Iterator<Item = (Origin, &Bytes)> {
        self.left_open
            .iter()
            .map(|(origin, token)| (*origin, token))
    }
}

/// Both answers to one exchange.
struct Seen<'a> {
    asked: &'a Asked,
    primary: Option<&'a Told>,
    shadow: Option<&'a Told>,
    now_us: u64,
}

impl Seen<'_> {
    /// The sessions that it is about: by search, and by kind.
    fn slots(&self) -> BTreeSet<(u32, TokenKind)> {
        let asked = self.asked.found.iter();
        let asked = asked
            .filter(|found| found.usage != Use::Closes)
            .map(|found| (found.slot, found.kind));
        let told = [self.primary, self.shadow].into_iter().flatten();
        let told = told
            .flat_map(Told::tokens)
            .map(|token| (token.slot, token.kind));
        asked
            .chain(told)
            .filter(|(_, kind)| *kind != TokenKind::Position)
            .collect()
    }

    fn primary_did_it(&self) -> bool {
        self.primary.is_some_and(Told::is_success)
    }

    /// The shadow's status, 0 without an answer.
    fn shadow_status(&self) -> u16 {
        self.shadow.map_or(0, |told| told.status)
    }

    fn shadow_did_it(&self) -> bool {
        self.shadow.is_some_and(Told::is_success)
    }

    /// Whether the shadow's session is of no more use after a page of it.
    fn is_broken(&self, kind: TokenKind) -> bool {
        if !self.primary_did_it() || self.shadow_did_it() {
            return false;
        }
        match kind {
            // Who knows which page would be the next one.
            TokenKind::Scroll | TokenKind::Cursor => true,
            _ => self.shadow_status() == 404,
        }
    }

    fn keep_us(&self, slot: u32, kind: TokenKind) -> Option<u64> {
        match kind {
            TokenKind::PointInTime => self
                .asked
                .search(slot)
                .map_or(self.asked.keep_us, |search| search.keep_us),
            _ => self.asked.keep_us,
        }
    }

    fn until_us(&self, keep_us: u64) -> u64 {
        self.now_us.saturating_add(keep_us).saturating_add(GRACE_US)
    }
}

fn carries(found: &Found, slot: u32, kind: TokenKind) -> bool {
    found.slot == slot && found.kind == kind && found.usage != Use::Closes
}

fn token(told: Option<&Told>, slot: u32, kind: TokenKind) -> Option<&Token> {
    let mut tokens = told?.tokens.iter();
    tokens.find(|token| token.slot == slot && token.kind == kind)
}

/// Learning: what an exchange says becomes events, and these are applied.
impl Sessions {
    fn learn_closed(&mut self, seen: &Seen<'_>, events: &mut Vec<Event>) {
        let gone =
            |told: Option<&Told>| told.is_some_and(|told| told.is_success() || told.status == 404);
        if !gone(seen.primary) && !seen.shadow_did_it() {
            return;
        }
        for found in &seen.asked.found {
            if found.usage != Use::Closes {
                continue;
            }
            let sessions = match &found.token {
                Some(token) => Vec::from_iter(self.find(found.kind, token)),
                None => self.all(found.kind),
            };
            for session in sessions {
                let what = if gone(seen.shadow) {
                    What::Closed { session }
                } else {
                    What::Abandoned { session }
                };
                self.record(what, events);
                self.counts.closed += 1;
            }
        }
    }

    /// A request that carries a token of the session.
    fn learn_page(&mut self, seen: &Seen<'_>, slot: u32, kind: TokenKind, events: &mut Vec<Event>) {
        let carried = seen
            .asked
            .found
            .iter()
            .filter(|found| carries(found, slot, kind))
            .find_map(|found| self.find(kind, found.token.as_ref()?));
        let Some((number, session)) =
            carried.and_then(|number| Some((number, self.sessions.get(&number)?)))
        else {
            // A headless chain stays one.
            return;
        };
        let renewed = token(seen.primary, slot, kind)
            .map(|token| token.bytes.clone())
            .filter(|name| !session.primary.contains(name));
        let shadow = match token(seen.shadow, slot, kind) {
            Some(token) => Some(Held::Token(token.bytes.clone())),
            None if seen.is_broken(kind) => Some(Held::Without(seen.shadow_status())),
            None => None,
        };
        let shadow = shadow.filter(|shadow| *shadow != session.shadow);
        let orphan = match (&shadow, &session.shadow) {
            (Some(Held::Without(status)), Held::Token(token)) if *status != 404 => {
                Some((session.origin, token.clone()))
            }
            _ => None,
        };
        let keep_us = seen.keep_us(slot, kind).unwrap_or(session.keep_us);
        let until_us = seen.until_us(keep_us).max(session.until_us);
        let prolonged = until_us - session.until_us >= STEP_US.min(keep_us / 4 + 1);
        if renewed.is_none() && shadow.is_none() && !prolonged {
            return;
        }
        let learnt = What::Learnt {
            session: number,
            origin: session.origin,
            primary: renewed.into_iter().collect(),
            shadow,
            until_us,
            keep_us,
        };
        self.record(learnt, events);
        if let Some((origin, token)) = orphan {
            self.record(What::Orphan { origin, token }, events);
        }
    }

    fn learn_opening(
        &mut self,
        seen: &Seen<'_>,
        slot: u32,
        kind: TokenKind,
        events: &mut Vec<Event>,
    ) {
        let theirs = token(seen.shadow, slot, kind);
        let Some(ours) = token(seen.primary, slot, kind) else {
            if let Some(theirs) = theirs {
                self.orphan(theirs.origin, theirs.bytes.clone(), events);
            }
            return;
        };
        let shadow = theirs.map_or_else(
            || Held::Without(seen.shadow_status()),
            |theirs| Held::Token(theirs.bytes.clone()),
        );
        let known = self.find(kind, &ours.bytes);
        if let Some(known) = known.and_then(|known| self.sessions.get(&known))
            && let Held::Token(old) = &known.shadow
            && known.shadow != shadow
        {
            // The opening was sent twice.
            let old = old.clone();
            self.orphan(known.origin, old, events);
        }
        let keep_us = seen.keep_us(slot, kind);
        let keep_us = keep_us.unwrap_or_else(|| ours.origin.default_keep_us());
        let learnt = What::Learnt {
            session: known.unwrap_or(self.next),
            origin: ours.origin,
            primary: vec![ours.bytes.clone()],
            shadow: Some(shadow),
            until_us: seen.until_us(keep_us),
            keep_us,
        };
        self.record(learnt, events);
    }

    fn learn_position(&mut self, seen: &Seen<'_>, slot: u32, events: &mut Vec<Event>) {
        let (Some(ours), Some(theirs)) = (
            token(seen.primary, slot, TokenKind::Position),
            token(seen.shadow, slot, TokenKind::Position),
        ) else {
            return;
        };
        let session = seen
            .asked
            .found
            .iter()
            .filter(|found| carries(found, slot, TokenKind::PointInTime))
            .find_map(|found| self.find(found.kind, found.token.as_ref()?));
        let Some(session) = session.filter(|_| !ours.bytes.is_empty()) else {
            return;
        };
        let placed = What::Placed {
            session,
            position: ours.bytes.clone(),
            values: theirs.values.clone(),
        };
        self.record(placed, events);
    }

    fn orphan(&mut self, origin: Origin, token: Bytes, events: &mut Vec<Event>) {
        self.record(What::Orphan { origin, token }, events);
    }

    fn evict(&mut self, events: &mut Vec<Event>) {
        while (self.sessions.len() > self.limits.sessions || self.counts.bytes > self.limits.bytes)
            && let Some(&(_, session)) = self.by_use.first()
        {
            self.record(What::Abandoned { session }, events);
            self.counts.evicted += 1;
        }
    }

    fn record(&mut self, what: What, events: &mut Vec<Event>) {
        let event = Event(what);
        self.apply(&event);
        events.push(event);
    }

    fn find(&self, kind: TokenKind, token: &Bytes) -> Option<u64> {
        // A key is a pair, so it must be made; the bytes are not copied.
        self.by_token.get(&(kind, token.clone())).copied()
    }

    pub(super) fn all(&self, kind: TokenKind) -> Vec<u64> {
        let mut numbers: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.origin.kind() == kind)
            .map(|(number, _)| *number)
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Events make all changes, so that the sessions are the same after a restart.
impl Sessions {
    fn apply(&mut self, event: &Event) {
        match &event.0 {
            What::Learnt { session, .. } => {
                let taken = self.take(*session);
                if taken.is_none() {
                    self.counts.opened += 1;
                }
                self.put(*session, learnt(taken, &event.0));
            }
            What::Placed {
                session,
                position,
                values,
            } => {
                if let Some(mut taken) = self.take(*session) {
                    taken.positions.retain(|(known, _)| known != position);
                    taken
                        .positions
                        .push_back((position.clone(), values.clone()));
                    if taken.positions.len() > POSITIONS {
                        taken.positions.pop_front();
                    }
                    self.put(*session, Some(taken));
                }
            }
            What::Closed { session } => drop(self.take(*session)),
            What::Abandoned { session } => {
                if let Some(Session {
                    origin,
                    shadow: Held::Token(token),
                    ..
                }) = self.take(*session)
                {
                    self.leave_open(origin, token);
                }
            }
            What::Orphan { origin, token } => self.leave_open(*origin, token.clone()),
        }
    }

    /// Takes a session out of every index.
    fn take(&mut self, number: u64) -> Option<Session> {
        let session = self.sessions.remove(&number)?;
        self.counts.bytes = self.counts.bytes.saturating_sub(session.weight());
        self.by_end.remove(&(session.until_us, number));
        self.by_use.remove(&(session.used, number));
        for name in &session.primary {
            let key = (session.origin.kind(), name.clone());
            if self.by_token.get(&key) == Some(&number) {
                self.by_token.remove(&key);
            }
        }
        Some(session)
    }

    fn put(&mut self, number: u64, session: Option<Session>) {
        let Some(mut session) = session else {
            return;
        };
        while session.primary.len() > NAMES {
            session.primary.pop_front();
        }
        self.tick += 1;
        self.next = self.next.max(number.saturating_add(1));
        session.used = self.tick;
        self.by_end.insert((session.until_us, number));
        self.by_use.insert((session.used, number));
        for name in &session.primary {
            let key = (session.origin.kind(), name.clone());
            self.by_token.insert(key, number);
        }
        self.counts.bytes += session.weight();
        self.sessions.insert(number, session);
    }

    fn leave_open(&mut self, origin: Origin, token: Bytes) {
        if origin == Origin::Task {
            return;
        }
        self.left_open_bytes += token.len() + FIXED;
        self.left_open.push_back((origin, token));
        while (self.left_open.len() > self.limits.sessions
            || self.left_open_bytes > self.limits.bytes)
            && let Some((_, token)) = self.left_open.pop_front()
        {
            self.left_open_bytes -= token.len() + FIXED;
            self.counts.leaked += 1;
        }
    }
}

fn learnt(taken: Option<Session>, what: &What) -> Option<Session> {
    let What::Learnt {
        origin,
        primary,
        shadow,
        until_us,
        keep_us,
        ..
    } = what
    else {
        return taken;
    };
    let mut session = taken.unwrap_or_else(|| Session {
        origin: *origin,
        primary: VecDeque::new(),
        shadow: Held::Without(0),
        until_us: 0,
        keep_us: 0,
        used: 0,
        positions: VecDeque::new(),
    });
    for name in primary {
        if !session.primary.contains(name) {
            session.primary.push_back(name.clone());
        }
    }
    if let Some(shadow) = shadow {
        session.shadow = shadow.clone();
    }
    session.until_us = *until_us;
    session.keep_us = *keep_us;
    Some(session)
}

/// What is to be changed in a request.
#[derive(Default)]
struct Plan {
    target: Vec<Edit>,
    document: Vec<Edit>,
    done: Rewritten,
}

/// Rewriting.
impl Sessions {
    fn plan(&self, reading: &Reading<'_>) -> Result<Plan, Unmappable> {
        let mut plan = Plan::default();
        for list in reading.spots.chunk_by(|a, b| a.list == b.list) {
            let mapped: Vec<_> = list
                .iter()
                .map(|spot| self.mapped(reading, &spot.found))
                .collect();
            let stay = mapped.iter().filter(|one| one.is_ok()).count();
            for (spot, mapped) in list.iter().zip(&mapped) {
                match mapped {
                    Ok(None) => {}
                    Ok(Some(token)) => plan.replace(reading, spot, token)?,
                    Err(unmappable) if stay == 0 || !may_lose_some(&spot.found) => {
                        return Err(*unmappable);
                    }
                    Err(_) => plan.done.left_out += 1,
                }
            }
            plan.done.mapped += stay;
            plan.leave_out(list, &mapped);
        }
        Ok(plan)
    }

    /// The target's token. `None` where it is the same for every cluster (`_all`).
    fn mapped(&self, reading: &Reading<'_>, found: &Found) -> Result<Option<Bytes>, Unmappable> {
        let fault = |reason| Unmappable {
            kind: found.kind,
            reason,
        };
        let Some(token) = &found.token else {
            return Ok(None);
        };
        if found.kind == TokenKind::Position {
            let session = reading
                .spots
                .iter()
                .map(|spot| &spot.found)
                .filter(|other| carries(other, found.slot, TokenKind::PointInTime))
                .find_map(|other| self.session(other.kind, other.token.as_ref()?));
            let mut positions = session.iter().flat_map(|session| &session.positions);
            let values = positions.find(|(position, _)| position == token);
            return match values {
                Some((_, values)) => Ok(Some(values.clone())),
                None => Err(fault(Reason::Headless)),
            };
        }
        match self
            .session(found.kind, token)
            .map(|session| &session.shadow)
        {
            Some(Held::Token(token)) => Ok(Some(token.clone())),
            Some(Held::Without(status)) => Err(fault(Reason::Broken { status: *status })),
            None => Err(fault(Reason::Headless)),
        }
    }

    fn session(&self, kind: TokenKind, token: &Bytes) -> Option<&Session> {
        self.sessions.get(&self.find(kind, token)?)
    }
}

/// Whether the request means the same for the other tokens when this one is left out.
fn may_lose_some(found: &Found) -> bool {
    found.usage == Use::Closes
}

impl Plan {
    fn replace(
        &mut self,
        reading: &Reading<'_>,
        spot: &Spot,
        token: &Bytes,
    ) -> Result<(), Unmappable> {
        if spot.found.token.as_ref() == Some(token) {
            return Ok(());
        }
        match &spot.at {
            At::Target(range) => self.target.push(Edit {
                range: range.clone(),
                with: url::encoded(token),
            }),
            At::Text(range) => self.document.push(Edit {
                range: range.clone(),
                with: token.to_vec(),
            }),
            At::Json(range) => {
                let with = if spot.found.kind == TokenKind::Position {
                    token.to_vec()
                } else {
                    quoted(token).ok_or(Unmappable {
                        kind: spot.found.kind,
                        reason: Reason::Unreadable,
                    })?
                };
                if reading.document.bytes.get(range.clone()) != Some(&*with) {
                    let range = range.clone();
                    self.document.push(Edit { range, with });
                }
            }
        }
        Ok(())
    }

    /// Cuts the tokens that are not known out of their list.
    fn leave_out(&mut self, list: &[Spot], mapped: &[Result<Option<Bytes>, Unmappable>]) {
        let items: Vec<(Range<usize>, bool)> = list
            .iter()
            .zip(mapped)
            .map(|(spot, mapped)| (spot.at.range(), mapped.is_ok()))
            .collect();
        let edits = match list.first().map(|spot| &spot.at) {
            Some(At::Target(_)) => &mut self.target,
            _ => &mut self.document,
        };
        edits.extend(left_out(&items).into_iter().map(|range| Edit {
            range,
            with: Vec::new(),
        }));
    }
}

impl At {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Target(range) | Self::Json(range) | Self::Text(range) => range.clone(),
        }
    }
}

fn quoted(token: &[u8]) -> Option<Vec<u8>> {
    serde_json::to_vec(std::str::from_utf8(token).ok()?).ok()
}

/// Applies edits whose ranges were read from the same bytes.
fn edited(bytes: &[u8], edits: Vec<Edit>) -> Result<Vec<u8>, Unmappable> {
    // They cannot overlap; if they ever do, nothing wrong is sent.
    spliced(bytes, edits).ok_or(Unmappable {
        kind: TokenKind::Scroll,
        reason: Reason::Unreadable,
    })
}

//! One connection's worth of sending: takes a job, makes its requests, sends them, and reads the answers.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exchange::{Body, Extent, Request, Response};
use tokio::time::{Instant, sleep_until};

use crate::change::Change;
use crate::counters::{add, count};
use crate::dispatch::Next;
use crate::engine::Shared;
use crate::job::{Batch, Job, Trouble, TroubleKind};
use crate::notes::{Before, What};
use crate::outcome::{Ambiguous, Filtered, Subject};
use crate::pair::{Dispatched, When};
use crate::plan::{self, Became, guard};
use crate::resolver::{Contained, FIRST_TICKET};
use crate::{
    Answer, Delivered, Dropped, Outcome, SendError, Sender, Sent, Timing, Unsendable, anchor,
    limit, settle, writes,
};

/// Bytes of an answer to a question of our own that are kept.
const UNDERSTOOD: usize = 4 << 20;
/// Bytes of an answer that are kept beyond twice the primary's, where the engine has to understand it.
const SPARE: usize = 256 << 10;
/// How long a target may take to finish what it was sent before the agent was killed.
const SETTLING: Duration = Duration::from_secs(30);
/// How often it is asked.
const SETTLING_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sender: Sender,
    /// To the primary, where it may be asked.
    pub(crate) primary: Option<Sender>,
}

/// What follows from one step of a job.
enum Step {
    /// The first of its batches is answered for good.
    Answered { status: u16, timing: Timing },
    /// The first of its batches has nothing to send any more.
    Nothing,
    /// These batches take the place of the first one.
    Instead(Vec<Batch>),
    /// To be tried again.
    Trouble(Trouble),
    /// The job cannot be sent.
    End(Outcome),
}

/// A request that is ready to go.
struct Ready {
    request: Request,
    changes: Vec<Change>,
    items: Vec<usize>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let sender = Sender::new(shared.route.clone());
        let primary = shared.resolver.as_ref();
        let primary = primary.map(|resolver| Sender::new(resolver.primary.clone()));
        Self {
            shared,
            sender,
            primary,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let next = match self.shared.next() {
                Next::Wait(_) => self.wait().await,
                next => next,
            };
            match next {
                Next::Send(job) => {
                    // What follows from a failure is seen to already.
                    self.send(job).await.unwrap_or_default();
                    self.shared.dispatch.lock().rest();
                }
                Next::GiveUp(mut job) => {
                    self.give_up(&mut job);
                    self.shared.dispatch.lock().rest();
                }
                Next::Probe => {
                    self.probe().await;
                    self.shared.dispatch.lock().rest();
                }
                Next::Settle => {
                    self.settle().await;
                    self.shared.dispatch.lock().rest();
                }
                Next::Wait(_) => {}
                Next::Stop => return,
            }
        }
    }

    /// Looks once more, and waits if there still is nothing to do.
    async fn wait(&self) -> Next {
        let mut work = pin!(self.shared.work.notified());
        // From here on no call is missed; one may have come before.
        work.as_mut().enable();
        let next = self.shared.next();
        let until = match next {
            Next::Wait(until) => until.filter(|until| self.shared.dispatch.lock().watch(*until)),
            _ => return next,
        };
        match until {
            None => work.await,
            Some(until) => {
                tokio::select! {
                    () = work => {}
                    () = sleep_until(until) => {}
                }
                self.shared.dispatch.lock().watched(until);
            }
        }
        next
    }

    /// Sends all of the job and sees to what follows. Returns whether the target gave final answers, and
    /// if not, what it asked for.
    async fn send(&mut self, mut job: Job) -> Result<(), Option<Duration>> {
        if job.position() >= FIRST_TICKET {
            return self.resolve(&mut job).await;
        }
        let began = Instant::now();
        job.prepare();
        self.shared.in_flight(1);
        let ended = self.send_batches(&mut job).await;
        self.shared.in_flight(-1);
        match ended {
            Ok(outcome) => {
                self.shared.finish(&mut job, outcome);
                Ok(())
            }
            Err(trouble) => {
                self.put_back(job, trouble, began);
                Err(trouble.asked)
            }
        }
    }

    async fn send_batches(&mut self, job: &mut Job) -> Result<Outcome, Trouble> {
        while let Some(batch) = job.batches.front().cloned() {
            match self.step(job, &batch).await {
                Step::Answered { status, timing } => {
                    job.answered(status, timing);
                    job.batches.pop_front();
                }
                Step::Nothing => {
                    job.batches.pop_front();
                }
                Step::Instead(batches) => {
                    job.batches.pop_front();
                    for batch in batches.into_iter().rev() {
                        job.batches.push_front(batch);
                    }
                }
                Step::Trouble(trouble) => return Err(trouble),
                Step::End(outcome) => return Ok(outcome),
            }
        }
        if job.delivered.is_none() && job.superseded > 0 {
            return Ok(Outcome::Filtered(Filtered::Superseded));
        }
        let nothing_sent = || Delivered {
            status: 200,
            attempts: job.attempts,
            timing: Timing::default(),
        };
        Ok(Outcome::Delivered(
            job.delivered.unwrap_or_else(nothing_sent),
        ))
    }

    async fn step(&mut self, job: &mut Job, batch: &Batch) -> Step {
        let Some(batch) = &self.without_superseded(job, batch) else {
            return Step::Nothing;
        };
        let batch = match self.not_done(job, batch).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Step::Nothing,
            Err(step) => return step,
        };
        let ready = match self.compose(job, &batch) {
            Ok(ready) => ready,
            Err(dropped) => {
                self.shared.learn(&job.in_hand, None);
                self.pair(job, None, None, Some(&dropped));
                return Step::End(Outcome::Dropped(dropped));
            }
        };
        if let Err(trouble) = self.make_visible(job).await {
            return Step::Trouble(trouble);
        }
        let keep = self.keep(job, &ready);
        if job.first_us.is_none() {
            job.first_us = Some(now_us());
            self.shared.counters.count_changes(&ready.changes);
            if let (Some(pace), Some(due)) = (&self.shared.pace, job.due) {
                pace.sent(due, Instant::now());
            }
        }
        let sent = match self.must_not_repeat(job, &ready) {
            true => self.sender.send_once(&ready.request, keep).await,
            false => self.sender.send_and_keep(&ready.request, keep).await,
        };
        job.attempts = job.attempts.saturating_add(sent.attempts);
        self.observe(&sent);
        self.judge(job, &ready, sent)
    }

    /// What of the batch is not in what was read from the primary.
    fn without_superseded(&self, job: &mut Job, batch: &Batch) -> Option<Batch> {
        let shared = &*self.shared;
        let resolver = shared.resolver.as_ref().filter(|it| it.has_floors());
        let (Some(resolver), in_hand) = (resolver, job.in_hand.clone()) else {
            return Some(batch.clone());
        };
        let items = in_hand.items(batch);
        let mut left = Vec::with_capacity(items.len());
        for item in &items {
            let Some(write) = in_hand.captured(*item, &shared.intake) else {
                left.push(*item);
                continue;
            };
            match resolver.judge(&write) {
                Contained::Yes => continue,
                Contained::Perhaps(name) => shared.fetch_again(&name),
                Contained::No => {}
            }
            left.push(*item);
        }
        let superseded = items.len() - left.len();
        if superseded == 0 {
            return Some(batch.clone());
        }
        job.superseded += superseded;
        add(&shared.counters.superseded, superseded as u64);
        (!left.is_empty()).then_some(Batch::These(left))
    }

    /// What the end of a request says of the target.
    fn observe(&self, sent: &Sent) {
        let outcome = match &sent.result {
            Ok(answer) if matches!(answer.status, 429 | 503) => limit::Outcome::Overloaded,
            Ok(_) => limit::Outcome::Answered,
            Err(SendError::ResponseTimeout { .. }) => limit::Outcome::TimedOut,
            Err(_) => return,
        };
        let is_alive = sent
            .result
            .as_ref()
            .is_ok_and(|answer| is_alive(answer.status));
        let now = Instant::now();
        let mut dispatch = self.shared.dispatch.lock();
        if is_alive {
            dispatch.health.answered(now);
        }
        let grown = dispatch.observe(sent.timing.end, outcome, now);
        drop(dispatch);
        if grown {
            self.shared.work.notify_one();
        }
    }

    /// Whether a guard must look before the request is sent again, also on another connection.
    fn must_not_repeat(&self, job: &Job, ready: &Ready) -> bool {
        let operation = &job.in_hand.operation;
        let guarded = |item: &usize| {
            let document = operation.documents.get(*item);
            document.is_some_and(|document| document.scripted)
        };
        let is_guarded = plan::needs_fence(operation) || ready.items.iter().any(guarded);
        !self.shared.as_is && is_guarded
    }

    /// What of the batch is left to do, when a part of it must not be done twice and perhaps was done.
    async fn not_done(&mut self, job: &Job, batch: &Batch) -> Result<Option<Batch>, Step> {
        let in_hand = &job.in_hand;
        if self.shared.as_is {
            return Ok(Some(batch.clone()));
        }
        if plan::needs_fence(&in_hand.operation) && in_hand.operation.api.is_by_query() {
            return self.indices_not_done(job, batch).await;
        }
        let mut items = in_hand.items(batch);
        let mut done = self.noted_as_done(job, &items);
        items.retain(|item| !done.contains(item));
        let guarded: Vec<usize> = plan::needs_guard(&in_hand.operation)
            .into_iter()
            .filter(|item| items.contains(item))
            .collect();
        let question = guard::request(&in_hand.exchange, &in_hand.operation, &guarded);
        let Some(question) = question.filter(|_| !guarded.is_empty()) else {
            return Ok(self.left(batch, items, &done));
        };
        let answer = self.ask(job, question).await?;
        let now = guard::read(&in_hand.operation, &guarded, &answer);
        let mut news = Vec::new();
        for (item, now) in guarded.iter().zip(now) {
            let what = What {
                position: job.position(),
                item: u32::try_from(*item).ok(),
            };
            match self.shared.notes.before(what) {
                Some(Before::Document(before)) => {
                    if guard::is_done(before, now) == Some(true) {
                        self.make_durable(job, &[*item]);
                        done.push(*item);
                    }
                }
                _ => news.push((what, Before::Document(now))),
            }
        }
        self.note(&news)?;
        Ok(self.left(batch, items, &done))
    }

    /// Items that were done before a kill.
    fn noted_as_done(&self, job: &Job, items: &[usize]) -> Vec<usize> {
        let position = job.position();
        let is_done = |item: &&usize| {
            let item = u32::try_from(**item).ok();
            self.shared
                .notes
                .was_done(What { position, item })
                .is_some()
        };
        items.iter().filter(is_done).copied().collect()
    }

    /// The batch without what is done.
    fn left(&self, batch: &Batch, mut items: Vec<usize>, done: &[usize]) -> Option<Batch> {
        if done.is_empty() {
            return Some(batch.clone());
        }
        add(&self.shared.counters.done_before, done.len() as u64);
        items.retain(|item| !done.contains(item));
        (!items.is_empty()).then_some(Batch::These(items))
    }

    /// The same for an operation on whole indices.
    async fn indices_not_done(&mut self, job: &Job, batch: &Batch) -> Result<Option<Batch>, Step> {
        let names = &job.in_hand.operation.indices.names;
        let names: Vec<_> = {
            let rules = self.shared.rules.load();
            let renamed = names
                .iter()
                .map(|name| rules.renamed(name).into_owned().into());
            renamed.collect()
        };
        let answer = self.ask_as_is(job, writes::ask(&names)).await?;
        let now = writes::read(answer.status, &answer.body.content);
        let what = What {
            position: job.position(),
            item: None,
        };
        match (self.shared.notes.before(what), now) {
            (Some(Before::Indices(before)), Some(now)) if now != before => {
                count(&self.shared.counters.done_before);
                return Ok(None);
            }
            (None, Some(now)) => self.note(&[(what, Before::Indices(now))])?,
            _ => {}
        }
        Ok(Some(batch.clone()))
    }

    fn note(&self, news: &[(What, Before)]) -> Result<(), Step> {
        let noted = self.shared.notes.note(news);
        noted.map_err(|error| {
            tracing::error!(%error, "cannot note what must not be done twice; trying again");
            Step::Trouble(Trouble {
                kind: TroubleKind::Connect,
                cause: "notes",
                status: None,
                timing: Timing::default(),
                asked: None,
            })
        })
    }

    /// Asks the target something of our own about the documents of a job, under the names that rules give.
    async fn ask(&mut self, job: &Job, mut question: Request) -> Result<Response, Step> {
        let rules = self.shared.rules.load();
        if rules.apply(&mut question, &mut Vec::new()).is_err() {
            return Err(Step::End(Outcome::Dropped(Dropped::Unrenamable)));
        }
        self.ask_as_is(job, question).await
    }

    async fn ask_as_is(&mut self, job: &Job, question: Request) -> Result<Response, Step> {
        let sent = self.sender.send_and_keep(&question, UNDERSTOOD).await;
        match trouble_of(&sent, None) {
            None => match sent.result {
                Ok(answer) => Ok(response(answer)),
                Err(_) => Ok(Response::default()),
            },
            Some(Ok(trouble)) => Err(Step::Trouble(trouble)),
            Some(Err(reason)) => {
                tracing::warn!(position = job.position(), %reason, "cannot ask the target about a document");
                Ok(Response::default())
            }
        }
    }

    /// An operation on what a search sees must see what was written before it, as the primary's did.
    async fn make_visible(&mut self, job: &Job) -> Result<(), Trouble> {
        if self.shared.as_is || !job.in_hand.operation.api.is_by_query() {
            return Ok(());
        }
        let mut target = Vec::from(b"/".as_slice());
        for (at, name) in job.in_hand.operation.indices.names.iter().enumerate() {
            if at > 0 {
                target.push(b',');
            }
            crate::resolve::encode(&self.shared.rules.load().renamed(name), &mut target);
        }
        if job.in_hand.operation.indices.names.is_empty() {
            target.extend_from_slice(b"_all");
        }
        target.extend_from_slice(b"/_refresh?ignore_unavailable=true");
        let request = Request {
            method: "POST".into(),
            target: target.into(),
            ..Request::default()
        };
        let sent = self.sender.send_and_keep(&request, 0).await;
        match trouble_of(&sent, None) {
            Some(Ok(trouble)) => Err(trouble),
            _ => Ok(()),
        }
    }

    fn compose(&self, job: &Job, batch: &Batch) -> Result<Ready, Dropped> {
        let in_hand = &job.in_hand;
        if self.shared.as_is {
            return Ok(Ready {
                request: in_hand.exchange.request.clone().unwrap_or_default(),
                changes: Vec::new(),
                items: Vec::new(),
            });
        }
        let items = match batch {
            Batch::All => plan::Items::All,
            Batch::These(items) => plan::Items::These(items),
        };
        let composed = plan::compose(
            &in_hand.exchange,
            &in_hand.operation,
            &in_hand.answer,
            &items,
            &self.shared.policy,
        )
        .map_err(|error| {
            tracing::warn!(position = job.position(), %error, "cannot make the request for the shadow");
            Dropped::Uncomposable
        })?;
        let plan::Composed {
            mut request,
            mut changes,
            items,
        } = composed;
        if !in_hand.asked.is_nothing() {
            self.shared
                .notes
                .sessions(|sessions| sessions.rewrite(&mut request, &mut changes))
                .map_err(Dropped::Unmappable)?;
        }
        if self.shared.anchor_dates {
            anchor::apply(&mut request, in_hand.exchange.time_us(), &mut changes);
        }
        self.shared
            .rules
            .load()
            .apply(&mut request, &mut changes)
            .map_err(|_| Dropped::Unrenamable)?;
        Ok(Ready {
            request,
            changes,
            items,
        })
    }

    /// How much of the answer is needed: all of it where it tells about documents or tokens. It is about as
    /// long as the primary's.
    fn keep(&self, job: &Job, ready: &Ready) -> usize {
        let keep = self.shared.keep;
        if !ready.items.is_empty() || job.in_hand.asked.expects_tokens() {
            let primary = job.in_hand.exchange.response.as_ref();
            let length = primary.map_or(UNDERSTOOD, |response| response.body.content.len());
            return keep.max(length.saturating_mul(2).saturating_add(SPARE));
        }
        // An error tells its type near its beginning.
        let error = if job.is_read() { 0 } else { 16 << 10 };
        keep.max(error)
    }

    fn judge(&self, job: &mut Job, ready: &Ready, sent: Sent) -> Step {
        let in_hand = job.in_hand.clone();
        let primary = in_hand
            .exchange
            .response
            .as_ref()
            .map(|response| response.status);
        let timing = sent.timing;
        match trouble_of(&sent, primary) {
            Some(Ok(trouble)) => return self.not_now(job, ready, sent, trouble),
            Some(Err(reason)) => {
                let dropped = Dropped::Unsendable(reason);
                self.pair(job, Some(ready), None, Some(&dropped));
                return Step::End(Outcome::Dropped(dropped));
            }
            None => {}
        }
        let Ok(answer) = sent.result else {
            return Step::Nothing;
        };
        let response = response(answer.clone());
        let status = response.status;
        let judged = plan::judge(&in_hand.operation, &ready.items, &response, &in_hand.answer);
        if judged.too_large {
            let (first, second) = plan::halve(&ready.items);
            return Step::Instead(vec![Batch::These(first), Batch::These(second)]);
        }
        self.count_refused(job, &judged);
        if job.attempts > 1 {
            self.make_durable(job, &judged.unwritten);
        }
        self.note_items(job, &judged, status);
        let again = judged.again();
        if !again.is_empty() && status < 300 {
            let trouble = Trouble {
                kind: TroubleKind::Status,
                cause: "items not now",
                status: Some(429),
                timing,
                asked: None,
            };
            if let Some(front) = job.batches.front_mut() {
                *front = Batch::These(again);
            }
            self.pair(job, Some(ready), Some((&answer, timing)), None);
            return Step::Trouble(trouble);
        }
        self.shared.learn(&job.in_hand, Some(&response));
        self.pair(job, Some(ready), Some((&answer, timing)), None);
        Step::Answered { status, timing }
    }

    /// An attempt that is to be repeated; the answer to a too large `_bulk` may be a broken connection.
    fn not_now(&self, job: &mut Job, ready: &Ready, sent: Sent, trouble: Trouble) -> Step {
        if let (Some(413), true) = (trouble.status, ready.items.len() > 1) {
            let (first, second) = plan::halve(&ready.items);
            return Step::Instead(vec![Batch::These(first), Batch::These(second)]);
        }
        tracing::debug!(
            position = job.position(),
            cause = trouble.cause,
            error = sent.result.as_ref().err().map(tracing::field::display),
            "the attempt failed"
        );
        if let Ok(answer) = sent.result {
            job.last_answer = Some((answer, sent.timing));
        }
        Step::Trouble(trouble)
    }

    fn count_refused(&self, job: &Job, judged: &plan::Judged) {
        let is_refused = |became: &Became| matches!(became, Became::Refused(_));
        let refused = judged
            .items
            .iter()
            .filter(|(_, became)| is_refused(became))
            .count();
        let whole = judged.items.is_empty() && is_refused(&judged.whole);
        let refused = refused + usize::from(whole);
        if refused == 0 || job.is_read() {
            return;
        }
        add(&self.shared.counters.refused, refused as u64);
        if let Some(suppressed) = self.shared.refused_log.may_speak(Instant::now()) {
            tracing::warn!(
                target = %self.shared.route.target(),
                position = job.position(),
                refused,
                suppressed,
                first = ?first_refusal(judged),
                "the shadow refused what the primary accepted"
            );
        }
        let ambiguous = self.ambiguous_as_refused(job, judged);
        self.shared.note_ambiguous(&ambiguous);
        self.shared.resolve_ambiguous(&ambiguous);
    }

    /// The target has these from an attempt that it did not answer, perhaps on one copy only, and did not write them now: a node that
    /// is cut off from its master tells what it has, and loses it when another copy takes over. A write of what the
    /// primary has is on all copies when it is answered.
    fn make_durable(&self, job: &Job, items: &[usize]) {
        if self.shared.resolver.is_none() || self.shared.as_is {
            return;
        }
        for name in items.iter().filter_map(|item| job.in_hand.name(*item)) {
            self.shared.fetch_again(&name);
        }
    }

    fn ambiguous_as_refused(&self, job: &Job, judged: &plan::Judged) -> Vec<Ambiguous> {
        let ambiguous = |subject| Ambiguous {
            position: job.position(),
            by: job.position(),
            subject,
            reason: "refused by the shadow",
        };
        let refused = judged
            .items
            .iter()
            .filter(|(_, became)| matches!(became, Became::Refused(_)));
        let documents = refused.filter_map(|(item, _)| job.in_hand.name(*item));
        let documents: Vec<_> = documents
            .map(|name| ambiguous(Subject::Document(name)))
            .collect();
        if documents.is_empty() {
            return vec![ambiguous(Subject::Operation)];
        }
        documents
    }

    /// Remembers what of a `_bulk` is done, where a guard is still to be noted for what comes behind it.
    fn note_items(&self, job: &Job, judged: &plan::Judged, status: u16) {
        let operation = &job.in_hand.operation;
        if operation.documents.len() < 2 || plan::needs_guard(operation).is_empty() {
            return;
        }
        let done = judged
            .items
            .iter()
            .filter(|(_, became)| *became != Became::Again);
        for item in done.filter_map(|(item, _)| u32::try_from(*item).ok()) {
            let what = What {
                position: job.position(),
                item: Some(item),
            };
            self.shared.notes.done(what, status);
        }
    }

    /// Tells what was sent and answered, where somebody wants to know: when the next pair of the exchange is
    /// there, or its end, for only then is it known whether it is the last.
    fn pair(
        &self,
        job: &mut Job,
        ready: Option<&Ready>,
        last: Option<(&Answer, Timing)>,
        dropped: Option<&Dropped>,
    ) {
        if !self.shared.pairs && dropped.is_none() {
            return;
        }
        let in_hand = job.in_hand.clone();
        let exchange = &in_hand.exchange;
        let Some(captured) = &exchange.request else {
            return;
        };
        let ended_us = now_us();
        let items = ready.map_or_else(Vec::new, |ready| in_hand.ranges(&ready.items));
        let made = Dispatched {
            exchange,
            api: in_hand.operation.api.as_str(),
            sent: ready.map_or(captured, |ready| &ready.request),
            changes: ready.map_or(&[][..], |ready| &ready.changes),
            items: &items,
            more: true,
            target: self.shared.route.target(),
            target_name: &self.shared.name,
            when: When {
                attempts: job.attempts,
                due_us: job
                    .due
                    .and_then(|due| ended_us.checked_sub(micros(due.elapsed()))),
                began_us: job.first_us.unwrap_or(ended_us),
                ended_us,
                timing: last.map(|(_, timing)| timing).unwrap_or_default(),
            },
            answer: last.map(|(answer, _)| answer),
            dropped,
        };
        let pair = made.pair().map(Box::new);
        if let Some(before) = std::mem::replace(&mut job.last_pair, pair) {
            self.shared.outcomes.pair(before);
        }
    }

    fn give_up(&self, job: &mut Job) {
        self.shared.learn(&job.in_hand, None);
        let outcome = job.given_up();
        let dropped = match &outcome {
            Outcome::Dropped(dropped) => Some(dropped),
            _ => None,
        };
        let last = job.last_answer.take();
        let last = last.as_ref();
        let ready = self.compose(job, &job.left()).ok();
        self.pair(
            job,
            ready.as_ref(),
            last.map(|(answer, timing)| (answer, *timing)),
            dropped,
        );
        self.shared.finish(job, outcome);
    }

    fn put_back(&self, job: Job, trouble: Trouble, began: Instant) {
        let shared = &*self.shared;
        let random = shared.random();
        let mut dispatch = shared.dispatch.lock();
        let given_up = dispatch.troubled(job, trouble, began, Instant::now(), random);
        drop(dispatch);
        match given_up {
            Some(mut job) => self.give_up(&mut job),
            None => {
                count(&shared.counters.retries);
                // This worker may go on to something long: somebody else must mind the time.
                shared.work.notify_one();
            }
        }
    }

    /// Asks whether the target lives: a trivial question first, and when it is reached but does not
    /// answer that one, an exchange. A target may well know no `/` and serve everything else.
    async fn probe(&mut self) {
        let sent = self.sender.probe(self.shared.probe_limit).await;
        let Some(Ok(trouble)) = trouble_of(&sent, None) else {
            return self.found_up();
        };
        if trouble.kind == TroubleKind::Connect {
            return self.found_down(trouble.cause, sent.result.err().as_ref(), trouble.asked);
        }
        let job = self.shared.dispatch.lock().take_for_probe(Instant::now());
        let Some(job) = job else {
            return self.found_down(trouble.cause, sent.result.err().as_ref(), trouble.asked);
        };
        match self.send(job).await {
            Ok(()) => self.found_up(),
            Err(asked) => self.found_down(trouble.cause, sent.result.err().as_ref(), asked),
        }
    }

    fn found_up(&self) {
        let mut dispatch = self.shared.dispatch.lock();
        if let Some(down) = dispatch.health.probe_answered(Instant::now()) {
            self.shared.target_is_up(down, &dispatch);
        }
        drop(dispatch);
        self.shared.work.notify_waiters();
    }

    fn found_down(&self, cause: &str, error: Option<&SendError>, asked: Option<Duration>) {
        let random = self.shared.random();
        let mut dispatch = self.shared.dispatch.lock();
        if dispatch.probe_failed(Instant::now(), asked, random) {
            self.shared.target_is_down(cause, error, &dispatch);
        }
    }

    /// Waits until the target has finished what an agent before this one sent it.
    async fn settle(&mut self) {
        let deadline = Instant::now() + SETTLING;
        loop {
            let sent = self.sender.send_and_keep(&settle::ask(), UNDERSTOOD).await;
            let running = match &sent.result {
                Ok(answer) => settle::running(answer.status, &answer.body),
                // Whether it lives is found out in other ways.
                Err(_) => 0,
            };
            if running == 0 {
                break;
            }
            if Instant::now() >= deadline {
                tracing::warn!(
                    running,
                    "the shadow still works on writes from before the restart; going on without them"
                );
                break;
            }
            tokio::time::sleep(SETTLING_PAUSE).await;
        }
        self.shared.dispatch.lock().settled();
        self.shared.work.notify_waiters();
    }
}

/// Why an attempt is to be repeated, or why it cannot be made; `None`: it was answered for good.
///
/// `primary` is the status that the primary answered. When the target says "not now" where the primary said
/// the same, that is the answer.
pub(crate) fn trouble_of(sent: &Sent, primary: Option<u16>) -> Option<Result<Trouble, Unsendable>> {
    let trouble = |kind, cause, status, asked| {
        Some(Ok(Trouble {
            kind,
            cause,
            status,
            timing: sent.timing,
            asked,
        }))
    };
    match &sent.result {
        Ok(answer) => {
            let cause = not_now(answer.status)?;
            if primary == Some(answer.status) {
                return None;
            }
            let asked = retry_after(answer.headers().get("retry-after"), SystemTime::now());
            trouble(TroubleKind::Status, cause, Some(answer.status), asked)
        }
        Err(SendError::Unsendable(reason)) => Some(Err(*reason)),
        Err(error) => {
            let kind = match error.is_connect() {
                true => TroubleKind::Connect,
                false => TroubleKind::Transport,
            };
            trouble(kind, error.as_str(), error.status(), None)
        }
    }
}

/// The statuses with which a target, or a proxy before it, asks to come again.
const fn not_now(status: u16) -> Option<&'static str> {
    match status {
        429 => Some("429"),
        502 => Some("502"),
        503 => Some("503"),
        504 => Some("504"),
        _ => None,
    }
}

const fn is_alive(status: u16) -> bool {
    not_now(status).is_none()
}

/// The wait that a `retry-after` field asks for (RFC 9110, 10.2.3): seconds, or a date in the form that the
/// standard lets one write (`IMF-fixdate`). A date that is over asks for nothing.
fn retry_after(value: Option<&[u8]>, now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value?).ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    let wait = SystemTime::from(date).duration_since(now);
    Some(wait.unwrap_or_default())
}

fn first_refusal(judged: &plan::Judged) -> Option<String> {
    let all = judged.items.iter().map(|(_, became)| became);
    all.chain([&judged.whole]).find_map(|became| match became {
        Became::Refused(refusal) => {
            let error = refusal.error.as_deref().unwrap_or_default();
            Some(format!(
                "{} {}",
                refusal.status,
                String::from_utf8_lossy(error)
            ))
        }
        _ => None,
    })
}

/// The target's answer as a response like the primary's.
fn response(answer: Answer) -> Response {
    let missing = answer.body_length.saturating_sub(answer.body.len() as u64);
    Response {
        time_us: now_us(),
        status: answer.status,
        headers: answer.headers(),
        body: Body {
            extent: match missing {
                0 if answer.whole => Extent::Whole,
                0 => Extent::Cut { missing: None },
                missing => Extent::Cut {
                    missing: Some(missing),
                },
            },
            content: answer.body,
        },
        ..Response::default()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    u64::try_from(micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_read_in_seconds_or_as_a_date_and_nothing_else() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value: &[u8]| retry_after(Some(value), now);
        assert_eq!(read(b" 3 "), Some(Duration::from_secs(3)));
        let dated = |text: &str| read(text.as_bytes());
        assert_eq!(
            dated("Sun, 06 Nov 1994 08:49:47 GMT"),
            Some(Duration::from_secs(10))
        );
        assert_eq!(dated("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        let others: [&[u8]; 5] = [b"", b"-1", b"soon", b"\xff", b"99999999999"];
        assert!(others.iter().all(|value| read(value).is_none()));
        assert_eq!(retry_after(None, now), None);
    }
}

//! A topic as the source of a replay: what the worker's thread has read, and what it is to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use journal::CursorState;
use parking_lot::Mutex;

use super::account::{Accounts, of_bookmark};
use super::worker::Worker;
use super::{Options, group};
use crate::replay::{Event, Progress, Source};

/// Events that are ready; most of what waits, waits in the worker.
const READY: usize = 256;
/// How long the replay waits for an event before it looks after everything else.
const PATIENCE: Duration = Duration::from_millis(20);

/// What the worker sends.
#[derive(Debug)]
pub(super) enum Sent {
    Event(Event),
    /// Everything is read and done.
    End,
    Failed(anyhow::Error),
}

/// What a group of consumers reads of a topic.
#[derive(Debug)]
pub struct KafkaSource {
    accounts: Arc<Mutex<Accounts>>,
    events: Option<Receiver<Sent>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    is_over: bool,
}

impl KafkaSource {
    /// Joins the group.
    ///
    /// # Errors
    /// When the brokers do not answer, or do not know the topic.
    pub fn open(mut options: Options, resumed: Option<CursorState>) -> anyhow::Result<Self> {
        if let Some(resumed) = &resumed
            && options.kept.is_empty()
        {
            options.kept = of_bookmark(resumed);
        }
        let consumer = group::consumer(&options)?;
        let accounts = Arc::new(Mutex::new(Accounts::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, events) = sync_channel(READY);
        let worker = Worker::new(
            consumer,
            options,
            Arc::clone(&accounts),
            sender,
            Arc::clone(&stop),
        )?;
        let thread = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(|| worker.run())
            .context("cannot start the thread that reads from kafka")?;
        Ok(Self {
            accounts,
            events: Some(events),
            stop,
            thread: Some(thread),
            is_over: false,
        })
    }
}

impl Source for KafkaSource {
    fn next(&mut self) -> anyhow::Result<Option<Event>> {
        let Some(events) = self.events.as_ref().filter(|_| !self.is_over) else {
            return Ok(None);
        };
        match events.recv_timeout(PATIENCE) {
            Ok(Sent::Event(event)) => Ok(Some(event)),
            Ok(Sent::Failed(error)) => {
                self.is_over = true;
                Err(error)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Some(Event::Waiting)),
            Ok(Sent::End) | Err(RecvTimeoutError::Disconnected) => {
                self.is_over = true;
                Ok(None)
            }
        }
    }

    fn done(&mut self, position: u64) {
        self.accounts.lock().done(position);
    }

    fn bookmark(&self) -> CursorState {
        self.accounts.lock().bookmark()
    }

    fn kept(&mut self) {
        self.accounts.lock().kept();
    }

    fn progress(&self) -> Progress {
        let accounts = self.accounts.lock();
        Progress {
            done: accounts.read,
            total: accounts.total,
            late: accounts.late,
            again: accounts.again,
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A worker that waits for room sees that nobody wants anything any more.
        self.events = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads from kafka panicked");
        }
    }
}

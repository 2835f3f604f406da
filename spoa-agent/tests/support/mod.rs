//! What the integration tests of the whole agent have in common: the agent as a process, a real
//! HAProxy, an origin, a client, a HAProxy that is played, and a load.
//!
//! All of it blocks and uses threads: a test reads from top to bottom. Everything listens on
//! addresses of this process alone (`own_host`), so that a port that is given back for a moment, as in
//! a restart, cannot be taken by anybody else. Nothing sleeps for a fixed time: [`wait_for`] looks
//! again and again until a condition holds, and only a failure takes all of [`PATIENCE`].

#![allow(dead_code, reason = "not every test asks for everything")]

pub(crate) mod agent;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod disk;
pub(crate) mod engines;
pub(crate) mod fake_haproxy;
pub(crate) mod haproxy;
pub(crate) mod http;
#[path = "../../../haproxy/tests/installed/mod.rs"]
pub(crate) mod installed;
pub(crate) mod journal;
pub(crate) mod load;
pub(crate) mod mock_kafka;
pub(crate) mod origin;
pub(crate) mod supervised;
pub(crate) mod workload;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "not every test asks for everything")]
pub(crate) use agent::{Agent, assert_ledger_balances};
pub(crate) use origin::Origin;

/// Long enough for a busy machine; only a failure takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until `look` finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    try_until(|| look().ok_or_else(|| "not yet".to_owned()))
        .unwrap_or_else(|why| panic!("{what}: {why} after {PATIENCE:?}"))
}

/// Looks until `look` is content, and otherwise tells what it said last.
pub(crate) fn wait_until(what: &str, look: impl FnMut() -> Result<(), String>) {
    try_until(look).unwrap_or_else(|why| panic!("{what}: after {PATIENCE:?} still {why}"));
}

fn try_until<T>(mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Err(why) if Instant::now() > end => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
            found => return found,
        }
    }
}

/// Waits until no other test that wants the machine for itself runs, in any process.
pub(crate) fn alone() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alone.lock");
    let lock = File::create(path).unwrap();
    lock.lock().unwrap();
    lock
}

/// A loopback address that no other process uses.
pub(crate) fn own_host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low)
}

/// A port of ours that nobody listens on now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((own_host(), 0)).unwrap();
    listener.local_addr().unwrap()
}

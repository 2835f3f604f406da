//! The follower against a scripted target on the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows these in test functions, but not in what they call; all of this is a test"
)]

mod causal;
mod delivery;
mod fidelity;
mod origin;
mod resolving;
mod sending;
mod soak;
mod store;
mod tls;

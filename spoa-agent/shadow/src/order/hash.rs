//! A hasher for numbers that are already hashes, or that only we choose.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys are [`super::Key`]s or tickets.
pub(super) type Through = BuildHasherDefault<Spread>;

/// Spreads a number over all bits; nobody outside chooses it, so it need not be secret.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

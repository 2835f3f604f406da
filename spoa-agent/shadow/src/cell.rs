//! A value that is read for every request and replaced now and then, as on SIGHUP.

use std::sync::Arc;

use parking_lot::RwLock;

/// Holds a value. Whoever loaded it keeps what was loaded: a replacement changes nothing that is under way.
#[derive(Debug, Default)]
pub struct Cell<T>(RwLock<Arc<T>>);

impl<T> Cell<T> {
    /// Holds `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value as it is now.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.read())
    }

    /// Holds `value` from now on, and gives the one before.
    pub fn replace(&self, value: T) -> Arc<T> {
        std::mem::replace(&mut *self.0.write(), Arc::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_stays_as_it_was_when_the_value_is_replaced() {
        let cell = Cell::new(1);
        let loaded = cell.load();
        assert_eq!(*cell.replace(2), 1);
        assert_eq!((*loaded, *cell.load()), (1, 2));
    }
}

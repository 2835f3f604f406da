//! Which exchanges of a source are replayed: those whose request lies in a stretch of time, up to a number.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// As the user says it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Selection {
    /// The first moment.
    pub from: Option<Time>,
    /// The first moment that is not in it any more.
    pub until: Option<Time>,
    /// Exchanges.
    pub limit: Option<u64>,
}

/// A moment, as the user says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Unix time in microseconds.
    At(u64),
    /// So long after the first request of the source.
    AfterBegin(Duration),
    /// So long before now.
    BeforeNow(Duration),
}

/// The stretch of time, worked out. Unix time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first moment.
    pub from: u64,
    /// The first moment after it.
    pub until: u64,
}

impl Window {
    /// All the time there is.
    pub const ALL: Self = Self {
        from: 0,
        until: u64::MAX,
    };

    /// Whether the moment lies in it.
    #[must_use]
    pub const fn holds(&self, time_us: u64) -> bool {
        self.from <= time_us && time_us < self.until
    }
}

impl Selection {
    /// The window, for a source whose first request was captured at `begin`, both in Unix microseconds.
    #[must_use]
    pub fn window(&self, begin: u64, now: u64) -> Window {
        let at = |time: Time| match time {
            Time::At(time) => time,
            Time::AfterBegin(after) => begin.saturating_add(micros(after)),
            Time::BeforeNow(before) => now.saturating_sub(micros(before)),
        };
        Window {
            from: self.from.map_or(Window::ALL.from, at),
            until: self.until.map_or(Window::ALL.until, at),
        }
    }

    /// Says the same again, to be compared with what another run was told.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{self:?}")
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl FromStr for Time {
    type Err = String;

    /// RFC 3339, `+10m` after the beginning of the capture, or `-2h` before now.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write a time such as 2026-11-21T08:30:00Z, +10m (after the first request of the capture) or -2h \
             (before now)"
                .to_owned()
        };
        let duration = |text: &str| crate::config::duration(text).map_err(|_| wrong());
        if let Some(after) = text.strip_prefix('+') {
            return duration(after).map(Self::AfterBegin);
        }
        if let Some(before) = text.strip_prefix('-') {
            return duration(before).map(Self::BeforeNow);
        }
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| u64::try_from(time.as_microsecond()).ok())
            .map(Self::At)
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_distance_from_the_beginning_or_from_now() {
        let (begin, now) = (1_000_000_000, 9_000_000_000);
        let window = |from: &str, until: &str| {
            let selection = Selection {
                from: Some(from.parse().unwrap()),
                until: Some(until.parse().unwrap()),
                limit: None,
            };
            selection.window(begin, now)
        };
        assert_eq!(
            window("+10s", "-1m"),
            Window {
                from: 1_010_000_000,
                until: 8_940_000_000
            }
        );
        assert_eq!(window("1970-01-01T00:00:02Z", "+0s").from, 2_000_000);
        for text in [
            "",
            "yesterday",
            "+1",
            "-",
            "2026-11-21",
            "1969-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_window_is_not_in_it() {
        let window = Window { from: 5, until: 7 };
        assert_eq!(
            [4, 5, 6, 7].map(|time| window.holds(time)),
            [false, true, true, false]
        );
    }
}

//! Time values as the cluster writes them: `30s`, `1m`, `1.5h`.

/// A time value in microseconds. `None` when it is none, or has no end (`-1`).
pub(crate) fn micros(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim().to_ascii_lowercase();
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(unit)?;
    let unit: u64 = match unit.trim_start() {
        "nanos" => return Some(number.parse::<u64>().ok()? / 1000),
        "micros" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole = whole.parse::<u64>().ok()?.saturating_mul(unit);
    // Three digits behind the point are more than anyone writes.
    let mut digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let thousandths = digits.try_fold(0u64, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + u64::from(digit - b'0'))
    })?;
    Some(whole.saturating_add(unit.saturating_mul(thousandths) / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_values_are_read_in_every_unit() {
        for (text, wanted) in [
            ("1m", Some(60_000_000)),
            ("1.5h", Some(5_400_000_000)),
            ("30S", Some(30_000_000)),
            ("5d", Some(432_000_000_000)),
            ("250ms", Some(250_000)),
            ("7micros", Some(7)),
            ("2500nanos", Some(2)),
            ("99999999999999999999d", None),
            ("18446744073709551615d", Some(u64::MAX)),
            ("-1", None),
            ("m", None),
            ("1", None),
            ("1y", None),
            ("", None),
        ] {
            assert_eq!(micros(text.as_bytes()), wanted, "{text}");
        }
        assert_eq!(micros(b"\xff1m"), None);
    }
}

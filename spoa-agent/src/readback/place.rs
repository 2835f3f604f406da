//! Which topic, as the user says it: `kafka:HOST:PORT[,HOST:PORT]/TOPIC[?window=65s&PROPERTY=VALUE]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long an exchange may take, unless the user says something else: the agent waits a minute for a response.
const WINDOW: Duration = Duration::from_secs(65);
/// Properties that are secrets: an argument can be seen by everybody on the machine.
const SECRET: &[&str] = &[
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
];

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Addresses. Empty: those of the configuration.
    pub brokers: Vec<String>,
    /// The topic's name.
    pub topic: String,
    /// How long messages wait for those of exchanges that began before theirs.
    pub window: Duration,
    /// Properties of librdkafka.
    pub properties: Vec<(String, String)>,
}

/// A stretch of a partition's offsets: from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offsets {
    /// The first.
    pub first: i64,
    /// The last. `None`: up to the end.
    pub last: Option<i64>,
}

impl Offsets {
    /// The first offset that is not in it any more.
    #[must_use]
    pub const fn end(&self) -> Option<i64> {
        match self.last {
            Some(last) => Some(last.saturating_add(1)),
            None => None,
        }
    }
}

impl FromStr for Place {
    type Err = String;

    /// What stands after `kafka:`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        let Some((brokers, topic)) = rest.rsplit_once('/') else {
            return Err(format!(
                "kafka:{text} names no topic; write kafka:HOST:PORT/TOPIC"
            ));
        };
        check_topic(topic)?;
        let brokers = brokers.split(',').filter(|broker| !broker.is_empty());
        let mut place = Self {
            brokers: brokers.map(str::to_owned).collect(),
            topic: topic.to_owned(),
            window: WINDOW,
            properties: Vec::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("{pair} has no value; write {pair}=VALUE"));
            };
            place.set(name, value)?;
        }
        Ok(place)
    }
}

impl Place {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if name == "window" {
            self.window = crate::config::duration(value)
                .map_err(|fault| format!("window={value}: {}; {}", fault.why, fault.way_out))?;
            return Ok(());
        }
        if SECRET.contains(&name) {
            return Err(format!(
                "{name} is a secret, and everybody on this machine can see arguments; name a configuration file with \
                 --config, whose section [kafka] names a file for it"
            ));
        }
        if !name.contains('.') {
            return Err(format!(
                "{name} is not known; there is window=DURATION, and the properties of librdkafka, such as fetch.max.bytes"
            ));
        }
        self.properties.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

/// What Kafka takes for the name of a topic.
fn check_topic(topic: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=249).contains(&topic.len()) && topic.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(format!(
        "{topic:?} is no name of a topic; it has letters, digits, '.', '_' and '-', at most 249"
    ))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka:{}/{}", self.brokers.join(","), self.topic)
    }
}

impl FromStr for Offsets {
    type Err = String;

    /// `100-200`, `100-` or `100`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} are no offsets; write 100-200 (both included), 100- (up to the end), or 100"
            )
        };
        let number = |text: &str| {
            let number = text.parse::<i64>().ok();
            number.filter(|number| *number >= 0).ok_or_else(wrong)
        };
        let (first, last) = match text.split_once('-') {
            None => (number(text)?, Some(number(text)?)),
            Some((first, "")) => (number(first)?, None),
            Some((first, last)) => (number(first)?, Some(number(last)?)),
        };
        if last.is_some_and(|last| last < first) {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_brokers_a_topic_and_what_is_special_about_them() {
        let place: Place = "a:9092,b:9093/t.1?window=5s&fetch.max.bytes=100000"
            .parse()
            .unwrap();
        assert_eq!(place.brokers, ["a:9092", "b:9093"]);
        assert_eq!(place.topic, "t.1");
        assert_eq!(place.window, Duration::from_secs(5));
        assert_eq!(
            place.properties,
            [("fetch.max.bytes".to_owned(), "100000".to_owned())]
        );
        assert_eq!(place.to_string(), "kafka:a:9092,b:9093/t.1");
        assert!("/t".parse::<Place>().unwrap().brokers.is_empty());
    }

    #[test]
    fn what_is_no_place_is_refused_and_a_secret_is_not_repeated() {
        for text in [
            "",
            "a:9092",
            "a:9092/",
            "a/b c",
            "a/t?x",
            "a/t?x=1",
            "a/t?window=x",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        let refused = "a/t?sasl.password=hunter2".parse::<Place>().unwrap_err();
        assert!(refused.contains("--config") && !refused.contains("hunter2"));
    }

    #[test]
    fn offsets_are_a_stretch_with_both_ends_or_without_the_last() {
        let offsets = |first, last| Ok(Offsets { first, last });
        assert_eq!("5-9".parse(), offsets(5, Some(9)));
        assert_eq!("5-".parse(), offsets(5, None));
        assert_eq!("5".parse(), offsets(5, Some(5)));
        for text in ["", "-", "-5", "9-5", "x", "1-x"] {
            assert!(text.parse::<Offsets>().is_err(), "{text}");
        }
    }
}

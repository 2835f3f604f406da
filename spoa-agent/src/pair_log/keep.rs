//! Appends pairs to the journal.

use exchange::{Credentials, Half, Pair};
use journal::{AppendError, Journal};

use crate::config::{Config, PairsTo};
use crate::telemetry::metrics::{PairLoss, PairMetrics};
use crate::telemetry::throttle::Throttle;

/// Puts pairs into the journal: masked, and with bodies up to a limit. It never blocks, and may be shared.
#[derive(Debug)]
pub struct Keep {
    journal: Journal,
    credentials: Credentials,
    body_limit: usize,
    metrics: PairMetrics,
    trouble: Throttle,
}

/// What became of a pair.
#[derive(Debug)]
pub enum Kept {
    /// The journal has it.
    Kept,
    /// The journal's buffer is full for the moment: offer it again soon. It is not counted yet.
    Later(Box<Pair>),
    /// It is lost, counted and logged. The exchange itself is delivered all the same.
    Lost,
}

impl Keep {
    /// `body_limit` bytes of each of the bodies are kept. `credentials` are masked, also when the journal keeps
    /// those of captured halves: nothing is sent from a pair.
    #[must_use]
    pub fn new(
        journal: Journal,
        credentials: Credentials,
        body_limit: usize,
        metrics: PairMetrics,
    ) -> Self {
        Self {
            journal,
            credentials,
            body_limit,
            metrics,
            trouble: Throttle::default(),
        }
    }

    /// As the configuration says. `None` when no pairs are to be made.
    #[must_use]
    pub fn configured(config: &Config, journal: &Journal, metrics: PairMetrics) -> Option<Self> {
        let credentials = Credentials::with(&config.capture.mask_headers);
        let limit = config.shadow.pair_body_limit;
        match config.shadow.pairs {
            PairsTo::Off => None,
            PairsTo::Journal => Some(Self::new(journal.clone(), credentials, limit, metrics)),
        }
    }

    /// Appends the pair. To lose none over a kill, tell the exchange as done afterwards.
    pub fn keep(&self, mut pair: Box<Pair>) -> Kept {
        pair.mask(&self.credentials);
        pair.limit_bodies(self.body_limit);
        let half: Half = Half::Pair(pair);
        let appended = self
            .journal
            .append(half.encoded_len(), |out| half.encode(out));
        let error = match appended {
            Ok(_end) => {
                self.metrics.kept.inc();
                return Kept::Kept;
            }
            Err(error) => error,
        };
        match (half, &error) {
            (Half::Pair(pair), AppendError::Backlog { .. }) => Kept::Later(pair),
            _ => {
                self.lost(&error);
                Kept::Lost
            }
        }
    }

    /// Counts a pair that could not wait any longer after [`Kept::Later`]: at the end of the agent.
    pub fn give_up(&self, pair: &Pair) {
        self.metrics.lost.inc(PairLoss::Backlog);
        if let Some(suppressed) = self.trouble.admit() {
            tracing::error!(
                exchange = pair.position,
                suppressed,
                "pair lost: the journal has no room"
            );
        }
    }

    fn lost(&self, error: &AppendError) {
        let loss = match error {
            AppendError::Full { .. } => PairLoss::JournalFull,
            AppendError::Backlog { .. } => PairLoss::Backlog,
            AppendError::TooBig { .. } => PairLoss::TooBig,
            AppendError::Failed { .. } | AppendError::Empty | AppendError::Closed => {
                PairLoss::Failed
            }
        };
        self.metrics.lost.inc(loss);
        if let Some(suppressed) = self.trouble.admit() {
            tracing::error!(%error, suppressed, "pair not kept; its exchange was sent all the same");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use exchange::{Body, Extent, Header, Request, Response};
    use journal::{Entry, ExchangeReader, Options, PairingOptions, Reader, Start, Want};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn pair() -> Box<Pair> {
        let secret = Header {
            name: Bytes::from_static(b"set-cookie"),
            value: Bytes::from_static(b"s3cret"),
        };
        Box::new(Pair {
            position: 9,
            request: Request {
                id: Bytes::from_static(b"a"),
                ..Request::default()
            },
            shadow: Some(Response {
                id: Bytes::from_static(b"a"),
                headers: [secret].into_iter().collect(),
                body: Body::observed(Bytes::from_static(b"0123456789"), true, None),
                ..Response::default()
            }),
            ..Pair::default()
        })
    }

    fn kept(dir: &std::path::Path) -> Pair {
        let options = PairingOptions {
            want: Want::Pairs,
            ..PairingOptions::default()
        };
        let reader = Reader::open_dir(dir, Start::Oldest).unwrap();
        match ExchangeReader::new(reader, options).next(0).unwrap() {
            Some(Entry::Pair { pair, .. }) => *pair,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pair_is_in_the_journal_without_its_credentials_and_with_a_body_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(Options::new(dir.path())).unwrap();
        let metrics = Metrics::register(&mut Registry::default()).pairs;
        let keep = Keep::new(journal.clone(), Credentials::default(), 4, metrics.clone());
        assert!(matches!(keep.keep(pair()), Kept::Kept));
        journal.close().unwrap();
        let shadow = kept(dir.path()).shadow.unwrap();
        assert_eq!(shadow.headers.get("set-cookie"), Some(&b"***"[..]));
        assert_eq!(shadow.body.content, "0123");
        assert_eq!(shadow.body.extent, Extent::Cut { missing: Some(6) });
        assert_eq!(metrics.kept.get(), 1);
    }

    #[test]
    fn a_pair_that_a_closed_journal_refuses_is_lost_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(Options::new(dir.path())).unwrap();
        journal.close().unwrap();
        let metrics = Metrics::register(&mut Registry::default()).pairs;
        let keep = Keep::new(journal, Credentials::default(), 4, metrics.clone());
        assert!(matches!(keep.keep(pair()), Kept::Lost));
        assert_eq!(metrics.lost.get(PairLoss::Failed), 1);
    }

    #[test]
    fn a_pair_longer_than_a_record_may_be_is_lost_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            max_record: 64,
            ..Options::new(dir.path())
        };
        let (journal, _) = Journal::open(options).unwrap();
        let metrics = Metrics::register(&mut Registry::default()).pairs;
        let keep = Keep::new(journal, Credentials::default(), 1 << 20, metrics.clone());
        let mut long = pair();
        long.request.target = Bytes::from(vec![b'a'; 100]);
        assert!(matches!(keep.keep(long), Kept::Lost));
        assert_eq!(metrics.lost.get(PairLoss::TooBig), 1);
    }
}

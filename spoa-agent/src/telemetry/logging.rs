//! Sets up the agent's log: text on a terminal, one JSON object per line otherwise, always to the
//! standard error, so that the standard output stays free for the traffic log.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not take the directives.
    #[error("log.level = {level:?} is not a list of directives: {reason}")]
    Level {
        /// As configured.
        level: String,
        /// What the filter says.
        reason: tracing_subscriber::filter::ParseError,
    },
    /// Somebody has set one up before.
    #[error("the log was already set up")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sets up the log of the process. Called once, by the subcommand.
///
/// # Errors
///
/// Fails when the directives are not understood, or when the log is set up already.
pub fn init(log: &Log) -> Result<(), LoggingError> {
    init_with(log, io::stderr)
}

/// The same, through a writer that ends at the standard error: for who also draws there.
///
/// # Errors
///
/// As [`init`].
pub fn init_with<W>(log: &Log, writer: W) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber = subscriber(log, io::stderr().is_terminal(), writer)?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(())
}

fn subscriber<W>(
    log: &Log,
    is_terminal: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|reason| LoggingError::Level {
            level: log.level.clone(),
            reason,
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(is_terminal);
    let is_text = match log.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if is_text {
        return Ok(Box::new(builder.finish()));
    }
    Ok(Box::new(builder.json().flatten_event(true).finish()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat, is_terminal: bool) -> String {
        let sink = Sink::default();
        let log = Log {
            level: level.to_owned(),
            format,
        };
        let writer = sink.clone();
        let subscriber = subscriber(&log, is_terminal, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(listen = "127.0.0.1:1", "listening");
            tracing::debug!("detail");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn auto_is_text_on_a_terminal_and_json_elsewhere() {
        let text = logged("info", LogFormat::Auto, true);
        assert!(
            text.contains("listening") && !text.starts_with('{'),
            "{text}"
        );
        let json = logged("info", LogFormat::Auto, false);
        let line: serde_json::Value = serde_json::from_str(json.trim_end()).unwrap();
        assert_eq!(line["message"], "listening");
        assert_eq!(line["listen"], "127.0.0.1:1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_level_decides_what_is_logged() {
        assert_eq!(logged("off", LogFormat::Json, false), "");
        assert_eq!(logged("info", LogFormat::Json, false).lines().count(), 1);
        assert_eq!(logged("trace", LogFormat::Json, false).lines().count(), 2);
        assert_eq!(
            logged("warn,spoa_agent=debug", LogFormat::Json, false)
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn text_without_a_terminal_has_no_colours() {
        assert!(!logged("info", LogFormat::Text, false).contains('\x1b'));
    }
}

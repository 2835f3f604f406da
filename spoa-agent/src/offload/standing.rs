//! What `/readyz` and `/ledger` say of Kafka.

use serde_json::{Value, json};

use super::client::Context;

/// What others may look at while an offload works.
#[derive(Debug)]
pub struct Standing {
    topic: String,
    context: Context,
}

impl Standing {
    pub(super) const fn new(topic: String, context: Context) -> Self {
        Self { topic, context }
    }

    /// Why messages are not delivered now. `None` when nothing is known to be wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.context.trouble()
    }

    /// What an operator should know, though the agent captures all the same.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let trouble = self.trouble()?;
        Some(format!(
            "kafka, topic {}: {trouble}; the journal keeps what it misses",
            self.topic
        ))
    }

    /// As `/ledger` shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "topic": self.topic, "trouble": self.trouble() })
    }
}

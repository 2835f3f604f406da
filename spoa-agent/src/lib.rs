//! spoa-agent

//! A request with its response, under one id.

use bytes::Bytes;

use crate::{Request, Response};

/// A request with its response, or the mark that one of them never came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Where it begins in the journal: the position of the half that came first. It names the
    /// exchange within one journal.
    pub position: u64,
    /// The request half. `None` when only the response was seen.
    pub request: Option<Request>,
    /// The response half. `None` when none came within the deadline.
    pub response: Option<Response>,
}

impl Exchange {
    /// The id that both halves carry.
    #[must_use]
    pub fn id(&self) -> Option<&Bytes> {
        match (&self.request, &self.response) {
            (Some(request), _) => Some(&request.id),
            (None, Some(response)) => Some(&response.id),
            (None, None) => None,
        }
    }

    /// Unix time in microseconds at which the request was seen, as far as it is known.
    #[must_use]
    pub fn time_us(&self) -> u64 {
        match (&self.request, &self.response) {
            (Some(request), _) => request.time_us,
            (None, Some(response)) => response.request_time_us.unwrap_or(response.time_us),
            (None, None) => 0,
        }
    }

    /// Microseconds from the request to the response, where both are known.
    #[must_use]
    pub fn duration_us(&self) -> Option<u64> {
        let response = self.response.as_ref()?;
        let began = match &self.request {
            Some(request) => request.time_us,
            None => response.request_time_us?,
        };
        response.time_us.checked_sub(began)
    }

    /// Bytes that the exchange holds in memory, roughly: bodies, headers, and a constant.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FIXED: usize = 512;
        let headers = |headers: &crate::Headers| -> usize {
            headers
                .iter()
                .map(|h| h.name.len() + h.value.len() + 64)
                .sum()
        };
        let request = self.request.as_ref().map_or(0, |request| {
            request.target.len() + request.body.content.len() + headers(&request.headers)
        });
        let response = self.response.as_ref().map_or(0, |response| {
            response.body.content.len() + headers(&response.headers)
        });
        FIXED + request + response
    }
}

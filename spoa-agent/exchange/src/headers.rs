//! Header fields in the order in which HAProxy tells them, repeated ones included.

use bytes::Bytes;

/// What stands in a record in place of a credential. A header with this value is never forwarded.
pub const MASK: &[u8] = b"***";

/// Headers whose values are credentials (law 5). Lower case, as HAProxy tells names.
pub const CREDENTIALS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
];

/// Which headers are credentials: [`CREDENTIALS`], and what the user adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    names: Vec<Box<[u8]>>,
    longest: usize,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::with(std::iter::empty::<&str>())
    }
}

impl Credentials {
    /// The built-in names and `more`.
    pub fn with<S: AsRef<str>>(more: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<Box<[u8]>> = CREDENTIALS
            .iter()
            .map(|name| Box::from(name.as_bytes()))
            .collect();
        names.extend(
            more.into_iter()
                .map(|name| Box::from(name.as_ref().as_bytes())),
        );
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        Self { names, longest }
    }

    /// Whether the header `name` is one, compared without regard to case.
    #[must_use]
    pub fn cover(&self, name: &[u8]) -> bool {
        name.len() <= self.longest
            && self
                .names
                .iter()
                .any(|secret| secret.eq_ignore_ascii_case(name))
    }
}

/// One header field. HAProxy tells names in lower case, whatever the peer wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<B = Bytes> {
    /// The field's name.
    pub name: B,
    /// The field's value, any bytes.
    pub value: B,
}

impl<B: AsRef<[u8]>> Header<B> {
    /// Whether the value was masked when it was captured.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.value.as_ref() == MASK
    }
}

/// Header fields in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<B = Bytes>(pub Vec<Header<B>>);

impl<B> Default for Headers<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: AsRef<[u8]>> Headers<B> {
    /// The first value under `name`, compared without regard to case (RFC 9110, 5.1).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|header| header.name.as_ref().eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| header.value.as_ref())
    }

    /// All values under `name`, in order.
    pub fn get_all<'a, 'n: 'a>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n, B> {
        self.0
            .iter()
            .filter(move |header| header.name.as_ref().eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| header.value.as_ref())
    }

    /// The declared length of the body: `content-length`, where it is one number
    /// (RFC 9110, 8.6; a list of equal numbers counts as that number).
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        let mut declared = None;
        for value in self
            .get_all("content-length")
            .flat_map(|v| v.split(|b| *b == b','))
        {
            let number = std::str::from_utf8(value.trim_ascii())
                .ok()?
                .parse::<u64>()
                .ok()?;
            if *declared.get_or_insert(number) != number {
                return None;
            }
        }
        declared
    }

    /// The fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header<B>> {
        self.0.iter()
    }
}

impl<'a, B> IntoIterator for &'a Headers<B> {
    type Item = &'a Header<B>;
    type IntoIter = std::slice::Iter<'a, Header<B>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<B> FromIterator<Header<B>> for Headers<B> {
    fn from_iter<I: IntoIterator<Item = Header<B>>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers<&'static [u8]> {
        fields
            .iter()
            .map(|(name, value)| Header {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect()
    }

    #[test]
    fn names_are_compared_without_regard_to_case_and_repeats_keep_their_order() {
        let headers = headers(&[("Via", "a"), ("host", "h"), ("via", "b")]);
        assert_eq!(headers.get_all("VIA").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(headers.get("Host"), Some(&b"h"[..]));
        assert_eq!(headers.get("cookie"), None);
    }

    #[test]
    fn credentials_are_known_in_any_case_and_the_user_adds_more() {
        let credentials = Credentials::with(["X-Tenant-Token"]);
        assert!(credentials.cover(b"Authorization"));
        assert!(credentials.cover(b"x-tenant-token"));
        assert!(!credentials.cover(b"x-tenant-token2"));
        assert!(!Credentials::default().cover(b"x-tenant-token"));
    }

    #[test]
    fn a_content_length_counts_only_when_it_is_one_number() {
        assert_eq!(
            headers(&[("content-length", " 12 ")]).content_length(),
            Some(12)
        );
        assert_eq!(
            headers(&[("content-length", "7, 7")]).content_length(),
            Some(7)
        );
        assert_eq!(
            headers(&[("content-length", "7"), ("content-length", "8")]).content_length(),
            None
        );
        assert_eq!(headers(&[("content-length", "-1")]).content_length(), None);
        assert_eq!(headers(&[]).content_length(), None);
    }
}

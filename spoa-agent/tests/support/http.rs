//! HTTP/1.1 on a blocking stream: just enough to read what was really sent.

use std::io::{self, BufRead, BufReader, Read};

/// A header section and its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line and the fields as they came, the empty line included.
    pub(crate) head: Vec<u8>,
    /// The body, without chunking.
    pub(crate) body: Vec<u8>,
}

pub(crate) type Field = (String, Vec<u8>);

impl Message {
    pub(crate) fn first_line(&self) -> &[u8] {
        let end = self.head.windows(2).position(|two| two == b"\r\n");
        &self.head[..end.unwrap()]
    }

    /// The fields in order, names in lower case.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let text = self.head.strip_suffix(b"\r\n\r\n").unwrap();
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        lines.push(rest);
        lines.into_iter().skip(1).map(field).collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<Vec<u8>> {
        let mut fields = self.fields().into_iter();
        fields
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.field(name)
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some()
    }

    fn content_length(&self) -> Option<usize> {
        self.text("content-length")
            .map(|length| length.parse().unwrap())
    }
}

fn field(line: &[u8]) -> Field {
    let colon = line.iter().position(|byte| *byte == b':').unwrap();
    let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
    (name, line[colon + 1..].trim_ascii().to_vec())
}

/// Reads a request. `None` when the peer has no more.
pub(crate) fn read_request(stream: &mut BufReader<impl Read>) -> io::Result<Option<Message>> {
    let Some(head) = read_head(stream)? else {
        return Ok(None);
    };
    let mut request = Message {
        head,
        body: Vec::new(),
    };
    request.body = match request.content_length() {
        _ if request.is_chunked() => read_chunks(stream)?,
        Some(length) => read_exactly(stream, length)?,
        None => Vec::new(),
    };
    Ok(Some(request))
}

/// Reads the response to a request with this method, interim responses skipped.
pub(crate) fn read_response(
    stream: &mut BufReader<impl Read>,
    method: &str,
) -> io::Result<Message> {
    let response = loop {
        let head = read_head(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let response = Message {
            head,
            body: Vec::new(),
        };
        if status(&response) >= 200 {
            break response;
        }
    };
    let without_body = method == "HEAD" || matches!(status(&response), 204 | 304);
    let body = match response.content_length() {
        _ if without_body => Vec::new(),
        _ if response.is_chunked() => read_chunks(stream)?,
        Some(length) => read_exactly(stream, length)?,
        None => {
            let mut body = Vec::new();
            stream.read_to_end(&mut body)?;
            body
        }
    };
    Ok(Message { body, ..response })
}

pub(crate) fn status(response: &Message) -> u16 {
    let line = String::from_utf8_lossy(response.first_line()).into_owned();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn read_head(stream: &mut BufReader<impl Read>) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head)? == 0 {
            return match head.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
    Ok(Some(head))
}

fn read_exactly(stream: &mut BufReader<impl Read>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_chunks(stream: &mut BufReader<impl Read>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        body.extend(read_exactly(stream, length)?);
        // The end of the chunk, or of the whole.
        read_exactly(stream, 2)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A body in chunks of `size` bytes.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

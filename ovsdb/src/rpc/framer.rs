//! Cuts a byte stream into JSON objects. OVSDB sends one object after another with nothing but optional white space
//! between them (RFC 7047 §4), so the end of a message is where its braces close.
//!
//! The scanner resumes at any byte, looks at every byte once, and bounds both the size and the nesting of a message
//! before anything is parsed. Whether the object is well-formed JSON is the parser's business; that it is UTF-8 is
//! checked here, so that everything behind can work on `str`.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest message, in bytes.
    pub message_bytes: usize,
    /// Deepest nesting of objects and arrays. OVSDB needs about ten; JSON parsers commonly stop at 128.
    pub depth: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            message_bytes: 1 << 30,
            depth: 120,
        }
    }
}

/// Why a stream cannot be cut any further. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message grew beyond [`FrameLimits::message_bytes`].
    #[error("a message is longer than {0} bytes, the bound set for it")]
    TooLong(usize),
    /// A message nests deeper than [`FrameLimits::depth`].
    #[error("a message nests deeper than {0} levels")]
    TooDeep(usize),
    /// Something other than white space and `{` between messages.
    #[error("byte {0:#04x} where a message should begin")]
    Junk(u8),
    /// A closing bracket without an opening one.
    #[error("brackets do not match")]
    Unbalanced,
    /// A message is not UTF-8 (RFC 7047 §3.1).
    #[error("a message is not UTF-8")]
    NotUtf8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    Structure,
    Text,
    Escape,
}

/// The resumable scanner and its buffer.
#[derive(Debug)]
pub struct Framer {
    limits: FrameLimits,
    buffer: BytesMut,
    /// How far into `buffer` has been looked at.
    scanned: usize,
    place: Place,
    depth: usize,
}

/// Reads are made into at least this much free space.
const READ_SPACE: usize = 64 << 10;
/// A buffer that one message has grown beyond this is given back with that message.
const KEEP_SPACE: usize = 1 << 20;

/// 2: opens, 3: closes, 4: quote. Everything else does not matter outside strings.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    class[b'{' as usize] = 2;
    class[b'[' as usize] = 2;
    class[b'}' as usize] = 3;
    class[b']' as usize] = 3;
    class[b'"' as usize] = 4;
    class
};

impl Framer {
    /// An empty framer.
    #[must_use]
    pub fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            scanned: 0,
            place: Place::Between,
            depth: 0,
        }
    }

    /// Appends bytes that were received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer, with free space at its end, for a reader that appends to it. Bytes already in it must stay.
    pub fn space(&mut self) -> &mut BytesMut {
        // A long message grows its buffer by half rather than by one read at a time.
        let growth = if self.buffer.len() == self.buffer.capacity() {
            self.buffer.len() / 2
        } else {
            0
        };
        self.buffer.reserve(READ_SPACE.max(growth));
        &mut self.buffer
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.place != Place::Between
    }

    /// The next complete message, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the framer is then of no more use.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.place == Place::Between {
            let blank = self
                .buffer
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            self.buffer.advance(blank);
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'{') => {
                    self.place = Place::Structure;
                    self.depth = 0;
                    self.scanned = 0;
                }
                Some(other) => return Err(FrameError::Junk(*other)),
            }
        }
        let Some(end) = self.scan()? else {
            if self.buffer.len() > self.limits.message_bytes {
                return Err(FrameError::TooLong(self.limits.message_bytes));
            }
            return Ok(None);
        };
        self.place = Place::Between;
        self.scanned = 0;
        if end > self.limits.message_bytes {
            return Err(FrameError::TooLong(self.limits.message_bytes));
        }
        let message = self.buffer.split_to(end).freeze();
        if end > KEEP_SPACE {
            // What follows moves out, so that the big buffer is freed with its message.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        if std::str::from_utf8(&message).is_err() {
            return Err(FrameError::NotUtf8);
        }
        Ok(Some(message))
    }

    /// Looks at what is new; `Some(n)` when the message ends after `n` bytes.
    fn scan(&mut self) -> Result<Option<usize>, FrameError> {
        let bytes = &self.buffer[..];
        let mut at = self.scanned;
        let (mut place, mut depth) = (self.place, self.depth);
        while let Some(&byte) = bytes.get(at) {
            match place {
                Place::Structure => {
                    at += 1;
                    match CLASS[usize::from(byte)] {
                        2 => {
                            depth += 1;
                            if depth > self.limits.depth {
                                return Err(FrameError::TooDeep(self.limits.depth));
                            }
                        }
                        3 => {
                            depth = depth.checked_sub(1).ok_or(FrameError::Unbalanced)?;
                            if depth == 0 {
                                return Ok(Some(at));
                            }
                        }
                        4 => place = Place::Text,
                        _ => {}
                    }
                }
                Place::Text => match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    None => at = bytes.len(),
                    Some(offset) => {
                        place = if bytes[at + offset] == b'"' {
                            Place::Structure
                        } else {
                            Place::Escape
                        };
                        at += offset + 1;
                    }
                },
                Place::Escape => {
                    at += 1;
                    place = Place::Text;
                }
                // Not reached: a message has begun.
                Place::Between => return Err(FrameError::Unbalanced),
            }
        }
        self.scanned = at;
        self.place = place;
        self.depth = depth;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(framer: &mut Framer) -> Result<Vec<String>, FrameError> {
        let mut found = Vec::new();
        while let Some(message) = framer.next_message()? {
            found.push(String::from_utf8(message.to_vec()).unwrap());
        }
        Ok(found)
    }

    #[test]
    fn any_split_gives_the_same_messages() {
        let messages = [
            r#"{"a":"}\"\\"}"#,
            r#"{"é":[{"x":"["},[]]}"#,
            "{}",
            r#"{"\\":"\u007d"}"#,
        ];
        let stream = format!(
            " {}\n{}{}\t{} ",
            messages[0], messages[1], messages[2], messages[3]
        )
        .into_bytes();
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut framer = Framer::new(FrameLimits::default());
                let mut found = Vec::new();
                for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                    framer.push(part);
                    found.extend(all(&mut framer).unwrap());
                }
                assert_eq!(found, messages);
                assert!(!framer.is_partial());
            }
        }
    }

    #[test]
    fn bounds_hold() {
        let limits = FrameLimits {
            message_bytes: 10,
            depth: 3,
        };
        let mut framer = Framer::new(limits);
        framer.push(br#"{"a":12345"#);
        assert_eq!(framer.next_message(), Ok(None));
        framer.push(b"6");
        assert_eq!(framer.next_message(), Err(FrameError::TooLong(10)));

        let mut framer = Framer::new(limits);
        framer.push(br#"{"a":1234567}"#);
        assert_eq!(framer.next_message(), Err(FrameError::TooLong(10)));

        let mut framer = Framer::new(limits);
        framer.push(br#"{"":[[]]}{[[["#);
        assert!(framer.next_message().unwrap().is_some());
        assert_eq!(framer.next_message(), Err(FrameError::TooDeep(3)));
    }

    #[test]
    fn junk_is_refused() {
        for (stream, error) in [
            (&b"x"[..], FrameError::Junk(b'x')),
            (b"{}]", FrameError::Junk(b']')),
            (b"[1]", FrameError::Junk(b'[')),
            (b"{\"\xff\"}", FrameError::NotUtf8),
        ] {
            let mut framer = Framer::new(FrameLimits::default());
            framer.push(stream);
            assert_eq!(all(&mut framer), Err(error));
        }
    }

    #[test]
    fn a_grown_buffer_is_given_back() {
        let mut framer = Framer::new(FrameLimits::default());
        framer.push(format!("{{\"a\":\"{}\"}}{{", "x".repeat(4 * KEEP_SPACE)).as_bytes());
        assert!(framer.next_message().unwrap().is_some());
        framer.space();
        assert!(framer.buffer.capacity() <= KEEP_SPACE);
    }
}

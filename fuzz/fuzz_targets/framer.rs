//! The framer: however a stream is split, the same messages come out of it, each a whole object within the bounds; where
//! the stream is a sequence of JSON objects, they are those that a JSON parser finds.
//!
//! The first byte of the input seeds the splits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovsdb::framer::{FrameError, FrameLimits, Framer};
use serde_json::value::RawValue;

const LIMITS: FrameLimits = FrameLimits { message_bytes: 512, depth: 16 };

/// Everything that comes of these parts, and what stopped it.
fn cut<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut framer = Framer::new(LIMITS);
    let mut found = Vec::new();
    for part in parts {
        framer.space();
        framer.push(part);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => found.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((seed, stream)) = input.split_first() else { return };
    let (whole, error) = cut(std::iter::once(stream));
    let (bytes, error_by_bytes) = cut(stream.chunks(1));
    let step = usize::from(*seed) % 61 + 2;
    let (pieces, error_by_pieces) = cut(stream.chunks(step));
    assert_eq!(whole, bytes);
    assert_eq!(whole, pieces);
    // A message that is too long is noticed as soon as it is; whatever else is wrong with it further on is not seen then.
    let too_long = |error: &Option<FrameError>| matches!(error, Some(FrameError::TooLong(_)));
    for split in [&error_by_bytes, &error_by_pieces] {
        assert!(*split == error || too_long(split) || too_long(&error), "{split:?} {error:?}");
    }
    for message in &whole {
        assert!(message.len() <= LIMITS.message_bytes);
        // Which bracket closes which is for the parser to say.
        assert!(message.starts_with(b"{") && matches!(message.last(), Some(b'}' | b']')));
        assert!(std::str::from_utf8(message).is_ok());
    }
    // A JSON parser's opinion, as far as it goes.
    let Ok(text) = std::str::from_utf8(stream) else { return };
    let parsed = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    for (place, value) in parsed.enumerate() {
        let Ok(value) = value else { break };
        match whole.get(place) {
            Some(message) => assert_eq!(message, value.get().as_bytes()),
            // Not an object, too long or too deep.
            None => {
                assert!(error.is_some(), "{:?} was not found", value.get());
                break;
            }
        }
    }
});

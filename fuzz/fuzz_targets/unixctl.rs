//! unixctl: whatever a daemon answers, it is an answer to the command, to an earlier one, or an error.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use ovsdb::framer::{FrameLimits, Framer};
use ovsdb::unixctl::parse_answer;
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    let mut framer = Framer::new(FrameLimits { message_bytes: 4096, depth: 120 });
    framer.push(input);
    while let Ok(Some(message)) = framer.next_message() {
        for id in [0, 1, u64::MAX] {
            match parse_answer(id, &message) {
                Ok(Some(Ok(text) | Err(text))) => {
                    let members: HashMap<String, &RawValue> =
                        serde_json::from_slice(&message).expect("an answer is an object");
                    assert_eq!(members["id"].get(), id.to_string());
                    assert!(text.len() <= message.len());
                }
                // Of an earlier command.
                Ok(None) => assert!(id > 0),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    // Also what no framer lets through.
    let _ = parse_answer(0, input);
});

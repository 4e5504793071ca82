//! Uids, kept small: there is one for each of tens of thousands of objects.

use std::fmt;

use ovsdb_model::Uuid;

/// An object's `metadata.uid`, which nearly always is a UUID. Its text is kept as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uid(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    Uuid(Uuid),
    Text(Box<str>),
}

impl Uid {
    /// Of this text.
    pub fn new(text: &str) -> Self {
        let mut space = [0; uuid::fmt::Hyphenated::LENGTH];
        let read = Uuid::try_parse(text).ok();
        // Other notations of a UUID are other texts.
        let same = read.filter(|uuid| uuid.hyphenated().encode_lower(&mut space) == text);
        Self(same.map_or_else(|| Repr::Text(text.into()), Repr::Uuid))
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::new("")
    }
}

impl PartialEq<str> for Uid {
    fn eq(&self, other: &str) -> bool {
        match &self.0 {
            Repr::Uuid(uuid) => {
                *uuid
                    .hyphenated()
                    .encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH])
                    == *other
            }
            Repr::Text(text) => **text == *other,
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Uuid(uuid) => fmt::Display::fmt(uuid, f),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_stays() {
        assert_eq!(size_of::<Uid>(), 24);
        for text in [
            "",
            "1-2",
            "7d0a3f3c-1c7c-4a51-9c2e-0f2f4a5b6c7d",
            "7D0A3F3C-1c7c-4a51-9c2e-0f2f4a5b6c7d",
            "7d0a3f3c1c7c4a519c2e0f2f4a5b6c7d",
        ] {
            let uid = Uid::new(text);
            assert_eq!(uid.to_string(), text);
            assert!(uid == *text && uid != *"other");
        }
    }
}

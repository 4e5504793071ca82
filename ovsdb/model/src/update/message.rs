//! The messages that updates arrive in.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::{Format, Found, Notification, SinceReply, UpdateSeed};
use crate::json::UuidSeed;
use crate::layout::Layout;

/// Reads `[found, last-transaction, updates]`.
pub(super) struct SinceSeed<'a> {
    pub(super) layout: &'a Layout,
    pub(super) found: Option<&'a Found>,
}

impl<'de> DeserializeSeed<'de> for SinceSeed<'_> {
    type Value = SinceReply;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SinceReply, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for SinceSeed<'_> {
    type Value = SinceReply;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[found, last transaction, updates]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SinceReply, A::Error> {
        let found = seq
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let last_transaction = seq
            .next_element_seed(UuidSeed)?
            .ok_or_else(|| de::Error::invalid_length(1, &self))?;
        let updates = UpdateSeed {
            layout: self.layout,
            format: Format::Update2,
            found: self.found,
        };
        let update = seq
            .next_element_seed(updates)?
            .ok_or_else(|| de::Error::invalid_length(2, &self))?;
        pass_rest(seq)?;
        Ok(SinceReply {
            found,
            last_transaction,
            update,
        })
    }
}

/// Passes over what a later server might add.
fn pass_rest<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads `[monitor, updates]` or `[monitor, last-transaction, updates]`.
pub(super) struct NotificationSeed<'a, F> {
    pub(super) format: Format,
    pub(super) with_id: bool,
    pub(super) layout_of: &'a F,
    pub(super) found: Option<&'a Found>,
}

impl<'de, 'l, F: Fn(&Value) -> Option<&'l Layout>> DeserializeSeed<'de>
    for NotificationSeed<'_, F>
{
    type Value = Notification;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Notification, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, 'l, F: Fn(&Value) -> Option<&'l Layout>> Visitor<'de> for NotificationSeed<'_, F> {
    type Value = Notification;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.with_id {
            "[monitor, last transaction, updates]"
        } else {
            "[monitor, updates]"
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Notification, A::Error> {
        let monitor: Value = seq
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let last_transaction = if self.with_id {
            Some(
                seq.next_element_seed(UuidSeed)?
                    .ok_or_else(|| de::Error::invalid_length(1, &self))?,
            )
        } else {
            None
        };
        let update = match (self.layout_of)(&monitor) {
            Some(layout) => seq.next_element_seed(UpdateSeed {
                layout,
                format: self.format,
                found: self.found,
            })?,
            None => {
                seq.next_element::<IgnoredAny>()?;
                None
            }
        };
        pass_rest(seq)?;
        Ok(Notification {
            monitor,
            last_transaction,
            update,
        })
    }
}

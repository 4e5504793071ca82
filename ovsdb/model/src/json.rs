//! Atoms and datums to and from JSON as RFC 7047 §5.1 writes them, straight from the stream.
//!
//! Reading with a type (the seeds) is strict about it; reading without one (the `Deserialize` implementations) takes
//! every number without a fraction for an integer.

use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Unexpected, Visitor,
};
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;
use uuid::Uuid;

use crate::atom::{Atom, AtomType, Real};
use crate::datum::{Datum, DatumRef};
use crate::schema::ColumnType;

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Real(number) => serializer.serialize_f64(number.get()),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::Uuid(uuid) => {
                let mut pair = serializer.serialize_tuple(2)?;
                pair.serialize_element("uuid")?;
                pair.serialize_element(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))?;
                pair.end()
            }
        }
    }
}

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tagged;
        match self.view() {
            DatumRef::Set([only]) => return only.serialize(serializer),
            DatumRef::Set(atoms) => {
                tagged = serializer.serialize_tuple(2)?;
                tagged.serialize_element("set")?;
                tagged.serialize_element(atoms)?;
            }
            DatumRef::Map(pairs) => {
                tagged = serializer.serialize_tuple(2)?;
                tagged.serialize_element("map")?;
                tagged.serialize_element(pairs)?;
            }
        }
        tagged.end()
    }
}

/// Reads one `<atom>`, of the type given if there is one.
#[derive(Debug, Clone, Copy)]
pub struct AtomSeed(pub Option<AtomType>);

impl<'de> DeserializeSeed<'de> for AtomSeed {
    type Value = Atom;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Atom, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtomSeed(None).deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for AtomSeed {
    type Value = Atom;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(AtomType::Uuid) => f.write_str("[\"uuid\", \"…\"]"),
            Some(atom_type) => write!(f, "a value of type {atom_type}"),
            None => f.write_str("a number, a boolean, a string or [\"uuid\", \"…\"]"),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Atom, E> {
        match self.0 {
            None | Some(AtomType::Integer) => Ok(Atom::Integer(number)),
            // Servers print a real without a fraction as an integer.
            Some(AtomType::Real) => self.visit_f64(number as f64),
            _ => Err(E::invalid_type(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Atom, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            // Beyond an integer's range the server, too, falls back to a real.
            Err(_) if self.0 == Some(AtomType::Integer) => Err(E::invalid_value(
                Unexpected::Unsigned(number),
                &"a signed 64-bit integer",
            )),
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Atom, E> {
        match self.0 {
            None | Some(AtomType::Real) => Real::new(number)
                .map(Atom::Real)
                .ok_or_else(|| E::invalid_value(Unexpected::Float(number), &"a finite number")),
            // 2^53 bounds the doubles that name one integer only.
            Some(AtomType::Integer)
                if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
            {
                Ok(Atom::Integer(number as i64))
            }
            _ => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Atom, E> {
        match self.0 {
            None | Some(AtomType::Boolean) => Ok(Atom::Boolean(value)),
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Atom, E> {
        match self.0 {
            None | Some(AtomType::String) => Ok(Atom::String(SmolStr::new(text))),
            _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Atom, A::Error> {
        if !matches!(self.0, None | Some(AtomType::Uuid)) {
            return Err(de::Error::invalid_type(Unexpected::Seq, &self));
        }
        match seq.next_element_seed(TagSeed)? {
            Some(Tag::Uuid) => uuid_after_tag(&mut seq).map(Atom::Uuid),
            _ => Err(de::Error::invalid_value(
                Unexpected::Seq,
                &"[\"uuid\", \"…\"]",
            )),
        }
    }
}

fn uuid_after_tag<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Uuid, A::Error> {
    let uuid = seq
        .next_element_seed(UuidSeed)?
        .ok_or_else(|| de::Error::invalid_length(1, &"[\"uuid\", \"…\"]"))?;
    end(seq)?;
    Ok(uuid)
}

/// The end of a tagged pair: a third element is an error.
fn end<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<(), A::Error> {
    match seq.next_element::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(de::Error::invalid_length(3, &"two elements")),
    }
}

/// Reads a UUID in its one hyphenated form, as a value or an object's key.
#[derive(Debug, Clone, Copy)]
pub struct UuidSeed;

impl<'de> DeserializeSeed<'de> for UuidSeed {
    type Value = Uuid;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Uuid, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for UuidSeed {
    type Value = Uuid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Uuid, E> {
        // The parser also takes forms that no server sends (braces, URNs): only the hyphenated one is 36 bytes long.
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(uuid),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// The word at the head of a tagged pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Set,
    Map,
    Uuid,
}

struct TagSeed;

impl<'de> DeserializeSeed<'de> for TagSeed {
    type Value = Tag;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tag, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for TagSeed {
    type Value = Tag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"set\", \"map\" or \"uuid\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tag, E> {
        match text {
            "set" => Ok(Tag::Set),
            "map" => Ok(Tag::Map),
            "uuid" => Ok(Tag::Uuid),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// Reads one `<value>`, held against a column's type if there is one: its kind and its atoms' types. How many elements
/// there are and which words are allowed is not looked at: the server has vouched for those, and differences
/// (`update2`) need not keep to them.
#[derive(Debug, Clone, Copy)]
pub struct DatumSeed<'a>(pub Option<&'a ColumnType>);

impl DatumSeed<'_> {
    fn key(self) -> AtomSeed {
        AtomSeed(self.0.map(|column| column.key.atom))
    }

    fn value(self) -> AtomSeed {
        AtomSeed(
            self.0
                .and_then(|column| column.value.as_ref())
                .map(|value| value.atom),
        )
    }

    fn scalar<E: de::Error>(
        self,
        read: impl FnOnce(AtomSeed) -> Result<Atom, E>,
    ) -> Result<Datum, E> {
        match self.0 {
            Some(column) if column.value.is_some() => {
                Err(E::custom("a single value where a map is expected"))
            }
            _ => read(self.key()).map(Datum::scalar),
        }
    }
}

impl<'de> DeserializeSeed<'de> for DatumSeed<'_> {
    type Value = Datum;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Datum, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Datum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DatumSeed(None).deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for DatumSeed<'_> {
    type Value = Datum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(column) => write!(f, "a value of type {column}"),
            None => f.write_str("an atom, [\"set\", […]] or [\"map\", […]]"),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Datum, E> {
        self.scalar(|seed| seed.visit_i64(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Datum, E> {
        self.scalar(|seed| seed.visit_u64(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Datum, E> {
        self.scalar(|seed| seed.visit_f64(number))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Datum, E> {
        self.scalar(|seed| seed.visit_bool(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Datum, E> {
        self.scalar(|seed| seed.visit_str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Datum, A::Error> {
        let map_expected = self.0.map(ColumnType::is_map);
        match seq.next_element_seed(TagSeed)? {
            None => Err(de::Error::invalid_length(0, &self)),
            Some(Tag::Uuid) => match self.key().0 {
                None | Some(AtomType::Uuid) if map_expected != Some(true) => {
                    uuid_after_tag(&mut seq).map(Datum::scalar)
                }
                _ => Err(de::Error::invalid_type(Unexpected::Other("a UUID"), &self)),
            },
            Some(Tag::Set) if map_expected != Some(true) => {
                let atoms = seq
                    .next_element_seed(ListSeed(self.key()))?
                    .ok_or_else(|| de::Error::invalid_length(1, &"[\"set\", […]]"))?;
                end(&mut seq)?;
                Datum::try_set(atoms).map_err(de::Error::custom)
            }
            Some(Tag::Map) if map_expected != Some(false) => {
                let pairs = seq
                    .next_element_seed(ListSeed(PairSeed(self.key(), self.value())))?
                    .ok_or_else(|| de::Error::invalid_length(1, &"[\"map\", […]]"))?;
                end(&mut seq)?;
                Datum::try_map(pairs).map_err(de::Error::custom)
            }
            Some(Tag::Set) => Err(de::Error::invalid_type(Unexpected::Other("a set"), &self)),
            Some(Tag::Map) => Err(de::Error::invalid_type(Unexpected::Other("a map"), &self)),
        }
    }
}

/// Reads a value that is known to be JSON.
pub(crate) fn read_alone(seed: DatumSeed<'_>, json: &RawValue) -> Result<Datum, String> {
    let read = seed.deserialize(&mut serde_json::Deserializer::from_str(json.get()));
    read.map_err(|error| {
        let text = error.to_string();
        // Where in the value means nothing to who does not see the value.
        let place = format!(" at line {} column {}", error.line(), error.column());
        text.strip_suffix(&place).unwrap_or(&text).to_owned()
    })
}

/// Reads an array of what the inner seed reads.
pub(crate) struct ListSeed<S>(pub(crate) S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for ListSeed<S> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for ListSeed<S> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element_seed(self.0)? {
            list.push(element);
        }
        Ok(list)
    }
}

/// Reads one `[key, value]` of a map.
#[derive(Clone, Copy)]
struct PairSeed(AtomSeed, AtomSeed);

impl<'de> DeserializeSeed<'de> for PairSeed {
    type Value = (Atom, Atom);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PairSeed {
    type Value = (Atom, Atom);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key, value]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let key = seq
            .next_element_seed(self.0)?
            .ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let value = seq
            .next_element_seed(self.1)?
            .ok_or_else(|| de::Error::invalid_length(1, &self))?;
        end(&mut seq)?;
        Ok((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_are_read_to_the_last_digit() {
        // Takes serde_json's `float_roundtrip`: without it the number is read as its neighbour.
        let datum: Datum = serde_json::from_str("-1.4444444444444445e61").unwrap_or_default();
        assert_eq!(
            datum,
            Datum::from(Real::new(-1.444_444_444_444_444_5e61).map(Atom::Real))
        );
        assert_eq!(
            serde_json::to_string(&datum).ok().as_deref(),
            Some("-1.4444444444444445e+61")
        );
    }
}

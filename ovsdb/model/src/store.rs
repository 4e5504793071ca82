//! The rows of a table at rest. Most of what a small row holds in memory is pointers and room that is not used: packed into
//! one piece it takes a quarter, and is unpacked when it is asked for. A row that is large when packed (of a switch, with its
//! thousands of ports) stays as it is, for to look at it must not cost its size.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

use crate::atom::{Atom, Real};
use crate::datum::{Datum, DatumRef};
use crate::row::{Columns, Row};

/// Bytes that a packed row has at most.
const PACKED_MAX: usize = 512;

/// The rows of one table by UUID.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: HashMap<Uuid, Stored>,
    /// The columns that packed rows have: those of each layout that ever was, for packed rows name them by number.
    columns: Vec<Columns>,
    words: Words,
    /// What the rows hold outside the hash table, kept up to date so that asking for it costs nothing.
    bytes: usize,
}

#[derive(Debug)]
enum Stored {
    Packed(Box<[u8]>),
    Whole(Arc<Row>),
}

impl Rows {
    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without any row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Makes room for as many rows more.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
    }

    /// An estimate of the bytes the rows hold.
    pub(crate) fn memory(&self) -> usize {
        self.rows.allocation_size() + self.bytes
    }

    /// True if the row is there.
    pub(crate) fn contains(&self, uuid: Uuid) -> bool {
        self.rows.contains_key(&uuid)
    }

    /// The row, unpacked.
    pub(crate) fn get(&self, uuid: Uuid) -> Option<Arc<Row>> {
        self.rows.get(&uuid).map(|stored| self.unpacked(stored))
    }

    /// The rows' UUIDs, in no order.
    pub(crate) fn uuids(&self) -> impl Iterator<Item = Uuid> {
        self.rows.keys().copied()
    }

    /// The rows, unpacked one after the other, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Uuid, Arc<Row>)> {
        let rows = self.rows.iter();
        rows.map(|(uuid, stored)| (*uuid, self.unpacked(stored)))
    }

    /// Sets or removes a row, and gives what was there.
    pub(crate) fn set(&mut self, uuid: Uuid, row: Option<&Arc<Row>>) -> Option<Arc<Row>> {
        let old = match row {
            Some(row) => {
                let stored = match self.packed(row) {
                    Some(bytes) => Stored::Packed(bytes),
                    None => Stored::Whole(Arc::clone(row)),
                };
                self.bytes += stored.size();
                self.rows.insert(uuid, stored)
            }
            None => self.rows.remove(&uuid),
        }?;
        self.bytes = self.bytes.saturating_sub(old.size());
        Some(self.unpacked(&old))
    }

    fn unpacked(&self, stored: &Stored) -> Arc<Row> {
        match stored {
            Stored::Whole(row) => Arc::clone(row),
            Stored::Packed(bytes) => {
                #[expect(clippy::expect_used, reason = "`packed` wrote it, of these columns")]
                let row = self.unpack(bytes).expect("what was packed here");
                Arc::new(row)
            }
        }
    }

    /// `None` if the row is to stay as it is: it is large, or has columns that it does not share with the table's rows.
    fn packed(&mut self, row: &Row) -> Option<Box<[u8]>> {
        let elements: usize = row.kept_values().iter().map(Datum::len).sum();
        if elements > PACKED_MAX / 2 || !row.columns().have_common() {
            return None;
        }
        let known = self.columns.iter().rposition(|one| one.same(row.columns()));
        let number = known.unwrap_or(self.columns.len());
        let head: Head = (u8::try_from(number).ok()?, !row.kept());
        let bytes = postcard::to_allocvec(&(head, self.words.values(row))).ok()?;
        if bytes.len() > PACKED_MAX {
            return None;
        }
        if known.is_none() {
            self.columns.push(row.columns().clone());
        }
        Some(bytes.into())
    }

    fn unpack(&self, bytes: &[u8]) -> Option<Row> {
        let ((number, common), packed): (Head, Vec<Value<'_>>) =
            postcard::from_bytes(bytes).ok()?;
        let mut values: Vec<Datum> = Vec::with_capacity(packed.len());
        let atom = |atom| self.words.atom(atom);
        for value in packed {
            values.push(match value {
                Value::Same(at) => values.get(usize::from(at))?.clone(),
                Value::One(one) => Datum::scalar(atom(one)?),
                // They were sorted.
                Value::Set(atoms) => {
                    let atoms: Option<_> = atoms.into_iter().map(atom).collect();
                    Datum::from_sorted_set(atoms?)
                }
                Value::Map(pairs) => {
                    let pair = |(key, value)| Some((atom(key)?, atom(value)?));
                    let pairs: Option<_> = pairs.into_iter().map(pair).collect();
                    Datum::from_sorted_map(pairs?)
                }
            });
        }
        let columns = self.columns.get(usize::from(number))?.clone();
        Some(Row::of_kept(columns, !common, values.into()))
    }
}

impl Stored {
    /// The bytes it holds on the heap.
    fn size(&self) -> usize {
        match self {
            Self::Packed(bytes) => bytes.len(),
            // Two reference counts stand before the row.
            Self::Whole(row) => 2 * size_of::<usize>() + row.memory(),
        }
    }
}

/// What stands before a packed row's values: the number of its columns among the table's, and a bit for each column that it
/// does not keep a value of.
type Head = (u8, u64);

/// A value of a packed row.
#[derive(Serialize, Deserialize)]
enum Value<'a> {
    /// What the row keeps at this position as well.
    Same(u8),
    #[serde(borrow)]
    One(PackedAtom<'a>),
    #[serde(borrow)]
    Set(Vec<PackedAtom<'a>>),
    #[serde(borrow)]
    Map(Vec<(PackedAtom<'a>, PackedAtom<'a>)>),
}

#[derive(Serialize, Deserialize)]
enum PackedAtom<'a> {
    Word(u8),
    #[serde(borrow)]
    String(&'a str),
    Uuid([u8; 16]),
    Integer(i64),
    Boolean(bool),
    Real(f64),
}

/// Texts that many of a table's rows have, as the keys of `external_ids`: packed rows name them by number. What two rows in
/// succession have becomes one; those that once were remain, and there is room for so few that it does no harm.
#[derive(Debug, Default)]
struct Words {
    all: Vec<SmolStr>,
    numbers: HashMap<SmolStr, u8>,
    /// What the last row has that is no word.
    last: Vec<SmolStr>,
}

impl Words {
    /// What a row keeps.
    fn values<'a>(&mut self, row: &'a Row) -> Vec<Value<'a>> {
        let values = row.kept_values();
        let mut texts = Vec::new();
        let packed = values.iter().enumerate().map(|(at, value)| {
            let same = values[..at].iter().position(|other| other == value);
            if let Some(at) = same.and_then(|at| u8::try_from(at).ok()) {
                return Value::Same(at);
            }
            let mut atom = |atom| self.packed(atom, &mut texts);
            match value.view() {
                DatumRef::Set([one]) => Value::One(atom(one)),
                DatumRef::Set(atoms) => Value::Set(atoms.iter().map(atom).collect()),
                DatumRef::Map(pairs) => {
                    Value::Map(pairs.iter().map(|(k, v)| (atom(k), atom(v))).collect())
                }
            }
        });
        let packed = packed.collect();
        self.last = texts;
        packed
    }

    fn packed<'a>(&mut self, atom: &'a Atom, texts: &mut Vec<SmolStr>) -> PackedAtom<'a> {
        match atom {
            Atom::String(text) => match self.number(text) {
                Some(number) => PackedAtom::Word(number),
                None => {
                    texts.push(text.clone());
                    PackedAtom::String(text)
                }
            },
            Atom::Uuid(uuid) => PackedAtom::Uuid(uuid.into_bytes()),
            Atom::Integer(number) => PackedAtom::Integer(*number),
            Atom::Boolean(truth) => PackedAtom::Boolean(*truth),
            Atom::Real(number) => PackedAtom::Real(number.get()),
        }
    }

    /// The number of a text that is a word, or becomes one.
    fn number(&mut self, text: &SmolStr) -> Option<u8> {
        if let Some(number) = self.numbers.get(text) {
            return Some(*number);
        }
        let number = u8::try_from(self.all.len()).ok()?;
        self.last.contains(text).then(|| {
            self.all.push(text.clone());
            self.numbers.insert(text.clone(), number);
            number
        })
    }

    fn atom(&self, atom: PackedAtom<'_>) -> Option<Atom> {
        Some(match atom {
            PackedAtom::Word(number) => Atom::String(self.all.get(usize::from(number))?.clone()),
            PackedAtom::String(text) => Atom::from(text),
            PackedAtom::Uuid(bytes) => Atom::Uuid(Uuid::from_bytes(bytes)),
            PackedAtom::Integer(number) => Atom::Integer(number),
            PackedAtom::Boolean(truth) => Atom::Boolean(truth),
            PackedAtom::Real(number) => Atom::Real(Real::new(number)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    fn columns() -> Columns {
        let name = |at| SmolStr::from(format!("c{at:03}"));
        Columns::with_common((0..70).map(|at| (name(at), Datum::empty_set())))
    }

    fn atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            ".{0,40}".prop_map(Atom::from),
            any::<[u8; 16]>().prop_map(|bytes| Atom::Uuid(Uuid::from_bytes(bytes))),
            any::<i64>().prop_map(Atom::Integer),
            any::<bool>().prop_map(Atom::Boolean),
            any::<f64>().prop_map(|number| Atom::Real(Real::new(number).unwrap_or_default())),
        ]
    }

    fn datum() -> impl Strategy<Value = Datum> {
        prop_oneof![
            atom().prop_map(Datum::scalar),
            prop::collection::vec(atom(), 0..12).prop_map(Datum::set),
            prop::collection::vec((atom(), atom()), 0..8).prop_map(Datum::map),
        ]
    }

    /// What a row holds in some of the columns; the same datum in two of them, often.
    fn content() -> impl Strategy<Value = Vec<(usize, Datum)>> {
        let some = prop::collection::vec((0..70_usize, datum()), 0..6);
        (some, 0..70_usize).prop_map(|(mut some, twice)| {
            if let Some((_, datum)) = some.first().cloned() {
                some.push((twice, datum));
            }
            some
        })
    }

    fn row(columns: &Columns, content: &[(usize, Datum)]) -> Arc<Row> {
        Arc::new(Row::sparse(columns, |at| {
            let said = content.iter().find(|(position, _)| *position == at);
            Cow::Owned(said.map_or_else(Datum::empty_set, |(_, datum)| datum.clone()))
        }))
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_as_it_was(contents in prop::collection::vec(content(), 1..8)) {
            // Of two layouts, as after a change of the schema.
            let columns = [columns(), columns()];
            let mut rows = Rows::default();
            for (at, content) in contents.iter().enumerate() {
                let uuid = Uuid::from_u128(at as u128 / 2);
                let new = row(&columns[at % 2], content);
                let old = rows.get(uuid);
                prop_assert_eq!(rows.set(uuid, Some(&new)), old);
                let there = rows.get(uuid);
                prop_assert_eq!(there.as_ref(), Some(&new));
                prop_assert!(there.is_some_and(|row| row.columns().same(new.columns())));
            }
            let uuids: Vec<Uuid> = rows.uuids().collect();
            for uuid in uuids {
                prop_assert!(rows.memory() > 0 && rows.contains(uuid));
                rows.set(uuid, None);
            }
            prop_assert_eq!((rows.bytes, rows.is_empty()), (0, true));
        }
    }

    #[test]
    fn small_rows_are_packed_and_large_ones_are_not() {
        let columns = columns();
        let mut rows = Rows::default();
        let mut is_packed = |row: &Arc<Row>| {
            rows.set(Uuid::nil(), Some(row));
            matches!(rows.rows[&Uuid::nil()], Stored::Packed(_))
        };
        let ids = Datum::map([("owner", "yusur"), ("unit", "service/shop/web")]);
        let small = row(&columns, &[(3, Datum::scalar("a name")), (9, ids)]);
        assert!(is_packed(&small));
        let many = Datum::set((0..1000_i64).map(Atom::Integer));
        assert!(!is_packed(&row(&columns, &[(3, many)])));
        let long = Datum::scalar("x".repeat(PACKED_MAX));
        assert!(!is_packed(&row(&columns, &[(3, long)])));
        // One whose columns no other row shares.
        assert!(!is_packed(&Arc::new(Row::new().with("c003", "a name"))));
    }

    #[test]
    fn packed_rows_take_a_quarter() {
        let columns = columns();
        let mut rows = Rows::default();
        let mut whole = 0;
        for number in 0..1000_u128 {
            let unit = format!("pod/shop/web-{number}");
            let uuid = Uuid::from_u128(number);
            let ids = [
                ("yusur.io/owner", "yusur"),
                ("yusur.io/subnet", "front"),
                ("yusur.io/uid", &uuid.to_string()),
                ("yusur.io/unit", &unit),
            ];
            let address = Datum::scalar(format!("0a:58:0a:00:01:02 10.0.1.{number}"));
            let port = [
                (3, Datum::scalar(format!("yusur:yusur:{unit}"))),
                (7, address.clone()),
                (9, address),
                (11, Datum::map(ids)),
            ];
            let port = row(&columns, &port);
            whole += Stored::Whole(Arc::clone(&port)).size();
            rows.set(uuid, Some(&port));
            assert_eq!(rows.get(uuid), Some(port));
        }
        assert!(rows.bytes * 4 < whole, "{} of {whole}", rows.bytes);
        // The keys, the owner and the Subnet.
        assert_eq!(rows.words.all.len(), 6);
    }
}

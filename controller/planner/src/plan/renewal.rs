//! Under which UUID a row stands, or is to be inserted: its own, or a fresh one where ovn-northd might not know yet that the row
//! which had its own is gone.

use hashbrown::HashSet;
use ovsdb_model::{Database, Datum, Uuid};

use crate::desired::DesiredRow;
use crate::inventory::Inventory;
use crate::nb::{self, Renewal, TableSpec, Text};
use crate::unit::Unit;

/// Gives each row of the unit its place. A row that says it is one of them counts only if it is of this unit, and no row that the unit
/// wants for something else: somebody may have edited it.
pub(super) fn place(
    unit: &Unit,
    rows: &mut [DesiredRow],
    inventory: &Inventory,
    database: &Database,
) {
    let mut taken: HashSet<Uuid> = HashSet::new();
    for at in 0..rows.len() {
        let row = &rows[at];
        if row.table.renewal != Renewal::Fresh {
            continue;
        }
        let own = row.uuid;
        let there = nb::standing(database, row.table, own)
            .filter(|there| *there == own || is_of(unit, row.table, *there, inventory, database))
            .filter(|there| !taken.contains(there) && (*there == own || !wants(rows, *there)));
        let place = match (there, inventory.config().northd) {
            (Some(there), _) => there,
            (None, Some(salt)) if !inventory.northd().is_free(own) => {
                let exists = |uuid| database.has(row.table.name, uuid);
                inventory.northd().fresh(own, salt, exists)
            }
            (None, _) => own,
        };
        if place != own {
            taken.insert(place);
            stand_at(&mut rows[at], place);
        }
    }
}

fn wants(rows: &[DesiredRow], uuid: Uuid) -> bool {
    rows.iter().any(|row| row.uuid == uuid)
}

fn is_of(
    unit: &Unit,
    table: &TableSpec,
    uuid: Uuid,
    inventory: &Inventory,
    database: &Database,
) -> bool {
    let row = database.row(table.name, uuid);
    row.and_then(|row| nb::unit_of(&inventory.config().owner, table.name, &row))
        .is_some_and(|of| of == *unit)
}

fn stand_at(row: &mut DesiredRow, place: Uuid) {
    let own = Text::from(row.uuid.to_string());
    let labels = row.row.get("external_ids");
    let labels = labels.map(Datum::pairs).unwrap_or_default().iter().cloned();
    let labels = labels.chain([(Text::new_static(nb::ROW).into(), own.into())]);
    let labels = Datum::map(labels.collect::<Vec<_>>());
    row.row.set("external_ids", labels);
    row.uuid = place;
}

//! Random schemas: every trait that a schema can have comes up.

use serde_json::{Value, json};

use super::choices::Choices;

const TABLES: [&str; 3] = ["Alpha", "Beta", "Gamma_With_A_Name_Beyond_Inline"];

/// A schema as `get_schema` gives it. The first table is a root without which nothing could stay.
pub(crate) fn generate(choices: &mut Choices) -> Value {
    let count = 1 + choices.below(TABLES.len());
    let mut tables = json!({});
    for (at, name) in TABLES[..count].iter().enumerate() {
        let mut columns = json!({});
        for column in 0..1 + choices.below(6) {
            let mut schema = json!({"type": column_type(choices, &TABLES[..count])});
            if choices.one_in(8) {
                schema["mutable"] = json!(false);
            }
            if choices.one_in(8) {
                schema["ephemeral"] = json!(true);
            }
            columns[format!("column{column}")] = schema;
        }
        let mut table = json!({"columns": columns, "isRoot": at == 0 || choices.one_in(2)});
        if choices.one_in(4) {
            table["maxRows"] = json!(1 + choices.below(5));
        }
        // An ephemeral column cannot be part of an index.
        if choices.one_in(3) && table["columns"]["column0"]["ephemeral"].is_null() {
            table["indexes"] = json!([["column0"]]);
        }
        tables[*name] = table;
    }
    json!({"name": "Random", "version": "1.0.0", "tables": tables})
}

fn column_type(choices: &mut Choices, tables: &[&str]) -> Value {
    let key = base_type(choices, tables);
    let mut kind = json!({"key": key});
    // Half of the columns are scalars; the server wants a default there, which a strong reference does not have.
    let strong = key["refTable"].is_string() && key["refType"] == "strong";
    match choices.below(6) {
        0..2 if !strong => {}
        2 => kind["min"] = json!(0),
        3 => {
            kind["min"] = json!(0);
            kind["max"] = json!(2 + choices.below(3));
        }
        4 => {
            kind["min"] = json!(0);
            kind["max"] = json!("unlimited");
            kind["value"] = base_type(choices, tables);
        }
        _ => {
            kind["min"] = json!(0);
            kind["max"] = json!("unlimited");
        }
    }
    kind
}

fn base_type(choices: &mut Choices, tables: &[&str]) -> Value {
    match choices.below(10) {
        0 => json!({"type": "string"}),
        1 => json!({"type": "integer"}),
        2 => json!({"type": "real"}),
        3 => json!({"type": "boolean"}),
        4 => json!({"type": "uuid"}),
        5 => json!({"type": "integer", "minInteger": -1, "maxInteger": 2}),
        6 => json!({"type": "real", "minReal": -0.5, "maxReal": 1}),
        7 => {
            json!({"type": "string", "enum": ["set", ["", "tcp", "a word beyond what is kept inline"]]})
        }
        8 => json!({"type": "string", "maxLength": 3}),
        _ => {
            let how = if choices.one_in(2) { "weak" } else { "strong" };
            json!({"type": "uuid", "refTable": choices.of(tables), "refType": how})
        }
    }
}

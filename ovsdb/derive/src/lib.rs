//! `#[derive(Table)]` and `#[derive(StringEnum)]` for the `ovsdb-model` crate, which documents and re-exports them.

mod attributes;
mod string_enum;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `ovsdb_model::Table` for a struct with named fields, each a column, and adds a constant (`COL_VIPS`) for
/// each column's name.
///
/// On the struct: `#[ovsdb(table = "Load_Balancer")]` names the table (without it the struct's own name does);
/// `#[ovsdb(crate = "ovsdb::model")]` says where the model crate is found, if not at `::ovsdb_model`.
///
/// On a field: `#[ovsdb(column = "type")]` names the column (without it the field's own name does); `#[ovsdb(uuid)]`
/// marks the one field, if any, that holds the row's own UUID, which is read but never written.
#[proc_macro_derive(Table, attributes(ovsdb))]
pub fn derive_table(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    table::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Implements `ovsdb_model::AtomValue` for an enum whose variants stand for words.
///
/// A variant's word is its name in lower case with hyphens (`SourceHash` is `source-hash`), or given:
/// `#[ovsdb(word = "ip_src")]`. One variant with a single field may be marked `#[ovsdb(other)]`: it takes words that
/// have no variant, and its field any type that converts from and to text (`From<&str>`, `AsRef<str>`). Without it an
/// unknown word is an error when a row is read.
#[proc_macro_derive(StringEnum, attributes(ovsdb))]
pub fn derive_string_enum(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    string_enum::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

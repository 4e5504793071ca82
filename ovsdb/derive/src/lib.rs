//! `#[derive(Table)]` and `#[derive(StringEnum)]`, which `ovsdb-model` and `ovsdb::model` re-export: two of each, since the
//! code they write names the crate that it finds the model by, and a program has one or the other.

mod attributes;
mod string_enum;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, Path, parse_macro_input, parse_quote};

#[doc = include_str!("table.md")]
#[proc_macro_derive(Table, attributes(ovsdb))]
pub fn derive_table(input: TokenStream) -> TokenStream {
    write(table::derive, input, parse_quote!(::ovsdb_model))
}

#[doc = include_str!("table.md")]
#[proc_macro_derive(TableByOvsdb, attributes(ovsdb))]
pub fn derive_table_by_ovsdb(input: TokenStream) -> TokenStream {
    write(table::derive, input, parse_quote!(::ovsdb::model))
}

#[doc = include_str!("string_enum.md")]
#[proc_macro_derive(StringEnum, attributes(ovsdb))]
pub fn derive_string_enum(input: TokenStream) -> TokenStream {
    write(string_enum::derive, input, parse_quote!(::ovsdb_model))
}

#[doc = include_str!("string_enum.md")]
#[proc_macro_derive(StringEnumByOvsdb, attributes(ovsdb))]
pub fn derive_string_enum_by_ovsdb(input: TokenStream) -> TokenStream {
    write(string_enum::derive, input, parse_quote!(::ovsdb::model))
}

fn write(
    derive: fn(&DeriveInput, Path) -> syn::Result<proc_macro2::TokenStream>,
    input: TokenStream,
    model: Path,
) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive(&input, model)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

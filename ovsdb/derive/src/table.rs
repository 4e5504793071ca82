//! `#[derive(Table)]`.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, LitStr, Path};

use crate::attributes::Attributes;

struct Column<'a> {
    field: &'a Field,
    ident: &'a Ident,
    name: LitStr,
    constant: Ident,
}

pub(crate) fn derive(input: &DeriveInput, model: Path) -> syn::Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            input.span(),
            "Table can be derived for structs only",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(
            input.span(),
            "Table needs named fields: each is a column",
        ));
    };
    let attributes = Attributes::read(&input.attrs, &["table", "crate"])?;
    let krate = attributes.krate(model);
    let ident = &input.ident;
    let table = attributes
        .table
        .unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));

    let mut columns = Vec::new();
    let mut uuid: Option<&Ident> = None;
    let mut names = BTreeSet::new();
    for field in &fields.named {
        let Some(own) = &field.ident else { continue };
        let attributes = Attributes::read(&field.attrs, &["column", "uuid"])?;
        if attributes.uuid {
            if uuid.replace(own).is_some() {
                return Err(Error::new(
                    field.span(),
                    "only one field can hold the row's UUID",
                ));
            }
            continue;
        }
        let plain = own.unraw().to_string();
        let name = attributes
            .column
            .unwrap_or_else(|| LitStr::new(&plain, own.span()));
        if !names.insert(name.value()) {
            return Err(Error::new(
                field.span(),
                format!("the column {} appears twice", name.value()),
            ));
        }
        columns.push(Column {
            field,
            ident: own,
            name,
            constant: format_ident!("COL_{}", plain.to_uppercase()),
        });
    }

    let constants = columns.iter().map(|column| {
        let (constant, name) = (&column.constant, &column.name);
        let text = format!("The name of the column `{}`.", name.value());
        quote! { #[doc = #text] pub const #constant: &'static str = #name; }
    });
    let specs = columns.iter().map(|column| {
        let (name, kind) = (&column.name, &column.field.ty);
        quote! { #krate::ColumnSpec { name: #name, kind: <#kind as #krate::ColumnValue>::KIND } }
    });
    // The names are sorted here, so that building a row allocates its values and nothing else.
    let mut sorted: Vec<&Column<'_>> = columns.iter().collect();
    sorted.sort_by_key(|column| column.name.value());
    let sorted_names = sorted.iter().map(|column| &column.name);
    let values = sorted.iter().map(|column| {
        let own = column.ident;
        quote! { #krate::ColumnValue::to_datum(&self.#own) }
    });
    let reads = columns.iter().map(|column| {
        let (own, name) = (column.ident, &column.name);
        quote! { #own: #krate::table::read_column::<Self, _>(uuid, row, #name)? }
    });
    let own_uuid = uuid.map(|own| quote! { #own: uuid, });
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();

    Ok(quote! {
        #[allow(dead_code)]
        impl #impl_generics #ident #type_generics #where_clause {
            #(#constants)*
        }

        impl #impl_generics #krate::Table for #ident #type_generics #where_clause {
            const NAME: &'static str = #table;
            const COLUMNS: &'static [#krate::ColumnSpec] = &[#(#specs),*];

            fn to_row(&self) -> #krate::Row {
                static NAMES: ::std::sync::LazyLock<#krate::Columns> =
                    ::std::sync::LazyLock::new(|| #krate::table::static_columns(&[#(#sorted_names),*]));
                #krate::table::row_of(&NAMES, ::std::vec![#(#values),*])
            }

            fn from_row(uuid: #krate::Uuid, row: &#krate::Row) -> ::std::result::Result<Self, #krate::RowError> {
                ::std::result::Result::Ok(Self { #own_uuid #(#reads),* })
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn refusal(input: &DeriveInput) -> String {
        derive(input, parse_quote!(::ovsdb_model))
            .map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_cannot_be_a_table() {
        assert_eq!(
            refusal(&parse_quote!(
                struct T {
                    name: String,
                }
            )),
            ""
        );
        assert!(
            refusal(&parse_quote!(
                enum T {
                    A,
                }
            ))
            .contains("for structs only")
        );
        assert!(
            refusal(&parse_quote!(
                struct T(String);
            ))
            .contains("named fields")
        );
        let twice = parse_quote!(
            struct T {
                a: String,
                #[ovsdb(column = "a")]
                b: String,
            }
        );
        assert_eq!(refusal(&twice), "the column a appears twice");
        let two = parse_quote!(
            struct T {
                #[ovsdb(uuid)]
                a: Uuid,
                #[ovsdb(uuid)]
                b: Uuid,
            }
        );
        assert!(refusal(&two).contains("only one field"));
        let unknown = parse_quote!(
            struct T {
                #[ovsdb(colum = "x")]
                a: String,
            }
        );
        assert_eq!(
            refusal(&unknown),
            "unknown attribute; expected one of: column, uuid"
        );
        assert!(
            refusal(&parse_quote!(
                #[ovsdb(column = "x")]
                struct T {
                    a: String,
                }
            ))
            .contains("table, crate")
        );
    }
}

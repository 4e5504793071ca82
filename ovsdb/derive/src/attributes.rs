//! The `#[ovsdb(…)]` attributes of structs, fields and variants.

use syn::{Attribute, LitStr, Path};

/// What `#[ovsdb(…)]` said; what is not allowed in a place was refused when it was read.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) table: Option<LitStr>,
    pub(crate) krate: Option<Path>,
    pub(crate) column: Option<LitStr>,
    pub(crate) word: Option<LitStr>,
    pub(crate) uuid: bool,
    pub(crate) other: bool,
}

impl Attributes {
    /// Reads the attributes, of which only `allowed` may occur.
    pub(crate) fn read(attributes: &[Attribute], allowed: &[&str]) -> syn::Result<Self> {
        let mut found = Self::default();
        for attribute in attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("ovsdb"))
        {
            attribute.parse_nested_meta(|meta| {
                let name = meta
                    .path
                    .get_ident()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if !allowed.contains(&name.as_str()) {
                    return Err(meta.error(format!(
                        "unknown attribute; expected one of: {}",
                        allowed.join(", ")
                    )));
                }
                match name.as_str() {
                    "table" => found.table = Some(meta.value()?.parse()?),
                    "crate" => found.krate = Some(meta.value()?.parse::<LitStr>()?.parse()?),
                    "column" => found.column = Some(meta.value()?.parse()?),
                    "word" => found.word = Some(meta.value()?.parse()?),
                    "uuid" => found.uuid = true,
                    _ => found.other = true,
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// The path of the model.
    pub(crate) fn krate(&self, otherwise: Path) -> Path {
        self.krate.clone().unwrap_or(otherwise)
    }
}

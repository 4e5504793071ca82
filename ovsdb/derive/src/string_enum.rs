//! `#[derive(StringEnum)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Path};

use crate::attributes::Attributes;

pub(crate) fn derive(input: &DeriveInput, model: Path) -> syn::Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(
            input.span(),
            "StringEnum can be derived for enums only",
        ));
    };
    let krate = Attributes::read(&input.attrs, &["crate"])?.krate(model);
    let ident = &input.ident;

    let (mut writes, mut reads, mut words, mut other) = (Vec::new(), Vec::new(), Vec::new(), None);
    for variant in &data.variants {
        let attributes = Attributes::read(&variant.attrs, &["word", "other"])?;
        let own = &variant.ident;
        match (&variant.fields, attributes.other) {
            (Fields::Unit, false) => {
                let word = attributes
                    .word
                    .unwrap_or_else(|| LitStr::new(&hyphenated(&own.to_string()), own.span()));
                writes.push(quote! { Self::#own => #word });
                reads.push(quote! { #word => ::std::result::Result::Ok(Self::#own) });
                if words.contains(&word.value()) {
                    let problem = format!("the word {} appears twice", word.value());
                    return Err(Error::new(variant.span(), problem));
                }
                words.push(word.value());
            }
            (Fields::Unnamed(fields), true) if fields.unnamed.len() == 1 && other.is_none() => {
                writes.push(
                    quote! { Self::#own(word) => ::std::convert::AsRef::<str>::as_ref(word) },
                );
                other = Some(quote! {
                    word => ::std::result::Result::Ok(Self::#own(::std::convert::From::<&str>::from(word)))
                });
            }
            (_, true) => {
                return Err(Error::new(
                    variant.span(),
                    "one variant with one unnamed field can be `other`",
                ));
            }
            (_, false) => {
                return Err(Error::new(
                    variant.span(),
                    "a variant that stands for a word has no fields",
                ));
            }
        }
    }
    let expected = format!("one of {}", words.join(", "));
    let rest = other.unwrap_or_else(|| {
        quote! { _ => ::std::result::Result::Err(#krate::MismatchError::new(#expected, atom)) }
    });

    Ok(quote! {
        impl #ident {
            /// The word the database has for this value.
            #[allow(dead_code)]
            pub fn as_word(&self) -> &str {
                match self { #(#writes),* }
            }
        }

        impl #krate::AtomValue for #ident {
            const TYPE: #krate::AtomType = #krate::AtomType::String;

            fn to_atom(&self) -> #krate::Atom {
                #krate::Atom::from(self.as_word())
            }

            fn from_atom(atom: &#krate::Atom) -> ::std::result::Result<Self, #krate::MismatchError> {
                let ::std::option::Option::Some(word) = atom.as_str() else {
                    return ::std::result::Result::Err(#krate::MismatchError::new(#expected, atom));
                };
                match word { #(#reads,)* #rest }
            }
        }
    })
}

/// `SourceHash` → `source-hash`.
fn hyphenated(name: &str) -> String {
    let mut word = String::with_capacity(name.len() + 4);
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
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
    fn what_cannot_be_words() {
        assert_eq!(
            refusal(&parse_quote!(
                enum E {
                    A,
                    #[ovsdb(other)]
                    B(String),
                }
            )),
            ""
        );
        assert!(
            refusal(&parse_quote!(
                struct E;
            ))
            .contains("for enums only")
        );
        assert!(
            refusal(&parse_quote!(
                enum E {
                    A(String),
                }
            ))
            .contains("has no fields")
        );
        assert!(
            refusal(&parse_quote!(
                enum E {
                    #[ovsdb(other)]
                    A,
                }
            ))
            .contains("one unnamed field")
        );
        let two = parse_quote!(
            enum E {
                #[ovsdb(other)]
                A(String),
                #[ovsdb(other)]
                B(String),
            }
        );
        assert!(refusal(&two).contains("one variant"));
        let twice = parse_quote!(
            enum E {
                A,
                #[ovsdb(word = "a")]
                B,
            }
        );
        assert_eq!(refusal(&twice), "the word a appears twice");
    }

    #[test]
    fn names_become_words() {
        assert_eq!(hyphenated("SourceHash"), "source-hash");
        assert_eq!(hyphenated("Tcp"), "tcp");
    }
}

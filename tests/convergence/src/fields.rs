//! The fields of a kind as its schema has them, so that a test can say which of them it never met: a field that is new
//! in the API is one such.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The fields of a type, nested as they are written.
#[derive(Clone, Debug)]
pub enum Fields {
    /// Named members.
    Object(BTreeMap<String, Fields>),
    /// Elements, all alike.
    List(Box<Fields>),
    /// Values under names that are not fixed, all alike.
    Map(Box<Fields>),
    /// A single value; the values it may have, where the schema lists them.
    Value(Vec<Value>),
}

/// The values that the fields of some objects had, by path: `backends[].selector.matchLabels{}`.
pub type Met = BTreeMap<String, BTreeSet<String>>;

impl Fields {
    /// The fields of a spec or a status.
    pub fn of<T: JsonSchema>() -> Self {
        let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<T>();
        Self::read(schema.as_value())
    }

    fn read(schema: &Value) -> Self {
        let list = |key: &str| schema.get(key).and_then(Value::as_array);
        if let Some(ways) = list("anyOf")
            .or_else(|| list("oneOf"))
            .or_else(|| list("allOf"))
        {
            let ways: Vec<Self> = ways
                .iter()
                .filter(|way| way.get("type") != Some(&Value::from("null")))
                .map(Self::read)
                .collect();
            return match <[Self; 1]>::try_from(ways) {
                Ok([way]) => way,
                // Ways to write one value: the words of an enumeration, or a number and a text.
                Err(ways) => Self::Value(
                    ways.into_iter()
                        .flat_map(|way| match way {
                            Self::Value(values) => values,
                            _ => Vec::new(),
                        })
                        .collect(),
                ),
            };
        }
        if let Some(members) = schema.get("properties").and_then(Value::as_object) {
            let members = members.iter();
            return Self::Object(
                members
                    .map(|(name, member)| (name.clone(), Self::read(member)))
                    .collect(),
            );
        }
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|it| it.is_object())
        {
            return Self::Map(Box::new(Self::read(values)));
        }
        if let Some(items) = schema.get("items") {
            return Self::List(Box::new(Self::read(items)));
        }
        let boolean = match schema.get("type") {
            Some(Value::Array(types)) => types.contains(&Value::from("boolean")),
            other => other == Some(&Value::from("boolean")),
        };
        let listed = list("enum")
            .cloned()
            .or_else(|| Some(vec![schema.get("const")?.clone()]));
        Self::Value(match listed {
            Some(values) => values
                .into_iter()
                .filter(|value| !value.is_null())
                .collect(),
            None if boolean => vec![false.into(), true.into()],
            None => Vec::new(),
        })
    }

    /// The paths of all single values.
    pub fn paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        self.walk("", &mut |path, fields| {
            if matches!(fields, Self::Value(_)) {
                paths.insert(path.to_owned());
            }
        });
        paths
    }

    /// Every field with its path: those that hold others too.
    pub fn walk(&self, path: &str, visit: &mut impl FnMut(&str, &Self)) {
        visit(path, self);
        match self {
            Self::Object(members) => {
                for (name, member) in members {
                    let dot = if path.is_empty() { "" } else { "." };
                    member.walk(&format!("{path}{dot}{name}"), visit);
                }
            }
            Self::List(items) => items.walk(&format!("{path}[]"), visit),
            Self::Map(values) => values.walk(&format!("{path}{{}}"), visit),
            Self::Value(_) => {}
        }
    }

    /// Notes the values an object has.
    pub fn note(&self, object: &Value, met: &mut Met) {
        self.note_at("", object, met);
    }

    fn note_at(&self, path: &str, value: &Value, met: &mut Met) {
        match (self, value) {
            (Self::Object(members), Value::Object(there)) => {
                for (name, value) in there {
                    if let Some(member) = members.get(name) {
                        let dot = if path.is_empty() { "" } else { "." };
                        member.note_at(&format!("{path}{dot}{name}"), value, met);
                    }
                }
            }
            (Self::List(items), Value::Array(there)) => {
                for value in there {
                    items.note_at(&format!("{path}[]"), value, met);
                }
            }
            (Self::Map(values), Value::Object(there)) => {
                for value in there.values() {
                    values.note_at(&format!("{path}{{}}"), value, met);
                }
            }
            (_, Value::Null) => {}
            (_, value) => {
                let values = met.entry(path.to_owned()).or_default();
                values.insert(value.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yusur_crds::{VpcSpec, YusurServiceSpec};

    #[test]
    fn paths_are_those_of_the_api() {
        let vpc = Fields::of::<VpcSpec>().paths();
        for path in [
            "allowedNamespaces.from",
            "allowedNamespaces.selector.matchExpressions[].values[]",
            "allowedNamespaces.selector.matchLabels{}",
            "serviceCIDRs[]",
            "staticRoutes[].nextHop",
        ] {
            assert!(vpc.contains(path), "{path} in {vpc:?}");
        }
        let service = Fields::of::<YusurServiceSpec>().paths();
        for path in [
            "ports[].targetPort",
            "eip.ipFamilies[]",
            "backends[].weight",
        ] {
            assert!(service.contains(path), "{path} in {service:?}");
        }
    }

    #[test]
    fn enumerations_have_their_words() {
        let mut words = BTreeMap::new();
        Fields::of::<YusurServiceSpec>().walk("", &mut |path, fields| {
            if let Fields::Value(values) = fields {
                words.insert(path.to_owned(), values.len());
            }
        });
        assert_eq!(words["algorithm"], 4);
        assert_eq!(words["ipFamilyPolicy"], 3);
        assert_eq!(words["backends[].kind"], 4);
        assert_eq!(words["publish.dns"], 2);
        assert_eq!(words["backends[].weight"], 0);
    }
}

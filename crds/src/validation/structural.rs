//! Structural schemas, as Kubernetes has them: pruning, defaults, and what is checked without rules.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{FieldError, type_of};
use super::rules::{self, Back, Rule};

/// One node of a schema. A keyword that is not named here makes the schema unusable, so that none is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Structural {
    #[serde(rename = "type")]
    of: Option<Type>,
    #[serde(rename = "x-kubernetes-int-or-string", default)]
    int_or_string: bool,
    #[serde(default)]
    properties: BTreeMap<String, Structural>,
    #[serde(default)]
    required: Vec<String>,
    additional_properties: Option<Box<Structural>>,
    items: Option<Box<Structural>>,
    #[serde(rename = "enum")]
    allowed: Option<Vec<Value>>,
    format: Option<Format>,
    pattern: Option<Pattern>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    default: Option<Value>,
    #[serde(rename = "x-kubernetes-list-type", default)]
    list: ListType,
    #[serde(rename = "x-kubernetes-list-map-keys", default)]
    keys: Vec<String>,
    #[serde(rename = "x-kubernetes-validations", default)]
    rules: Vec<Rule>,
    /// Says only how objects are merged.
    #[serde(rename = "x-kubernetes-map-type")]
    _map_type: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Boolean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    Int32,
    Int64,
    /// In status only, which is not looked at.
    DateTime,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// The API server's expressions are RE2's; this crate's syntax is the same.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Pattern(Regex);

// === impl Pattern ===

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(pattern: String) -> Result<Self, regex::Error> {
        Regex::new(&pattern).map(Self)
    }
}

// === impl Structural ===

impl Structural {
    /// Reads an `openAPIV3Schema`.
    ///
    /// # Errors
    /// When it has a keyword that is not known here.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        Self::deserialize(schema).map_err(|error| error.to_string())
    }

    /// Tells the fields of the root and of `spec` that the schema does not have, and takes them out.
    pub(super) fn unknown_fields(
        &self,
        root: &mut Map<String, Value>,
        errors: &mut Vec<FieldError>,
    ) {
        let everywhere = ["apiVersion", "kind", "metadata", "status"];
        root.retain(|key, value| {
            if everywhere.contains(&key.as_str()) {
                return true;
            }
            let Some(schema) = self.properties.get(key) else {
                errors.push(FieldError::unknown(key));
                return false;
            };
            schema.prune_unknown(value, key, errors);
            true
        });
    }

    fn prune_unknown(&self, value: &mut Value, path: &str, errors: &mut Vec<FieldError>) {
        match value {
            Value::Object(fields) => fields.retain(|key, value| {
                let path = format!("{path}.{key}");
                match self.field(key) {
                    Some(schema) => {
                        schema.prune_unknown(value, &path, errors);
                        true
                    }
                    None => {
                        errors.push(FieldError::unknown(&path));
                        false
                    }
                }
            }),
            Value::Array(list) => {
                if let Some(schema) = &self.items {
                    for (index, item) in list.iter_mut().enumerate() {
                        schema.prune_unknown(item, &format!("{path}[{index}]"), errors);
                    }
                }
            }
            _ => {}
        }
    }

    fn field(&self, key: &str) -> Option<&Self> {
        let named = self.properties.get(key);
        named.or(self.additional_properties.as_deref())
    }

    /// Takes out nulls and fills in defaults, and writes whole numbers as such.
    pub(super) fn prune_and_default(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, value| !value.is_null() || self.field(key).is_none());
                for (key, schema) in &self.properties {
                    if let Some(default) = &schema.default
                        && !fields.contains_key(key)
                    {
                        fields.insert(key.clone(), default.clone());
                    }
                }
                for (key, value) in fields {
                    if let Some(schema) = self.field(key) {
                        schema.prune_and_default(value);
                    }
                }
            }
            Value::Array(list) => {
                if let Some(schema) = &self.items {
                    for item in list {
                        schema.prune_and_default(item);
                    }
                }
            }
            Value::Number(number) if self.of == Some(Type::Integer) || self.int_or_string => {
                if let Some(whole) = number.as_f64().and_then(whole)
                    && number.is_f64()
                {
                    *value = whole.into();
                }
            }
            _ => {}
        }
    }

    /// Whether there are rules in it.
    pub(super) fn has_rules(&self) -> bool {
        let below = self.properties.values().chain(self.items.as_deref());
        let mut below = below.chain(self.additional_properties.as_deref());
        !self.rules.is_empty() || below.any(Self::has_rules)
    }

    /// Asks the rules.
    pub(super) fn check_rules(
        &self,
        value: &Value,
        former: Option<&Value>,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) {
        for message in rules::refusals(&self.rules, value, former) {
            errors.push(FieldError::rule(path, value, message));
        }
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    if let Some(schema) = self.field(key) {
                        let former = former.and_then(|former| former.get(key));
                        schema.check_rules(value, former, &join(path, key), errors);
                    }
                }
            }
            Value::Array(list) => {
                if let Some(schema) = self.items.as_ref().filter(|items| items.has_rules()) {
                    // Which item was which before is not told: no rule in a list of ours looks back.
                    for (index, item) in list.iter().enumerate() {
                        schema.check_rules(item, None, &format!("{path}[{index}]"), errors);
                    }
                }
            }
            _ => {}
        }
    }

    /// Checks all but the rules.
    pub(super) fn check(&self, root: &Value, errors: &mut Vec<FieldError>) {
        self.check_at(root, "", errors);
    }

    fn check_at(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        if !self.has_type(value) {
            errors.push(FieldError::wrong_type(path, self.type_name(), value));
        }
        match value {
            Value::Object(fields) => {
                for key in &self.required {
                    if !fields.contains_key(key) {
                        errors.push(FieldError::required(&join(path, key)));
                    }
                }
                for (key, value) in fields {
                    if let Some(schema) = self.field(key) {
                        schema.check_at(value, &join(path, key), errors);
                    }
                }
            }
            Value::Array(list) => {
                let length = list.len() as u64;
                if let Some(min) = self.min_items
                    && length < min
                {
                    let rest = format_args!("should have at least {min} items");
                    errors.push(FieldError::invalid(path, &length.into(), rest));
                }
                if let Some(max) = self.max_items
                    && length > max
                {
                    errors.push(FieldError::too_many(path, list.len(), max));
                }
                if let Some(schema) = &self.items {
                    for (index, item) in list.iter().enumerate() {
                        schema.check_at(item, &format!("{path}[{index}]"), errors);
                    }
                }
                self.check_list(list, path, errors);
            }
            Value::String(text) => self.check_string(value, text, path, errors),
            Value::Number(number) => self.check_number(value, number, path, errors),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(allowed) = &self.allowed
            && !allowed.contains(value)
        {
            errors.push(FieldError::not_supported(path, value, allowed));
        }
    }

    fn has_type(&self, value: &Value) -> bool {
        if self.int_or_string {
            return matches!(type_of(value), "integer" | "string");
        }
        let Some(of) = self.of else { return true };
        match of {
            Type::Object => value.is_object(),
            Type::Array => value.is_array(),
            Type::String => value.is_string(),
            Type::Boolean => value.is_boolean(),
            Type::Integer => type_of(value) == "integer",
        }
    }

    fn type_name(&self) -> &'static str {
        match self.of {
            _ if self.int_or_string => "integer,string",
            Some(Type::Object) => "object",
            Some(Type::Array) => "array",
            Some(Type::String) => "string",
            Some(Type::Boolean) => "boolean",
            Some(Type::Integer) => "integer",
            None => "",
        }
    }

    /// Members of a set, and keys of a map, are there once.
    fn check_list(&self, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
        if self.list == ListType::Atomic {
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let key = match self.list {
                ListType::Map if item.is_null() => continue,
                ListType::Map if !item.is_object() => {
                    errors.push(FieldError::no_map_entry(&path, item));
                    continue;
                }
                ListType::Map => {
                    let keys = self.keys.iter();
                    let parts = keys.filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                    Value::Object(parts.collect())
                }
                _ => item.clone(),
            };
            if !seen.insert(key.to_string()) {
                errors.push(FieldError::duplicate(&path, &key));
            }
        }
    }

    /// The first of these faults is told, as the API server does.
    fn check_string(&self, value: &Value, text: &str, path: &str, errors: &mut Vec<FieldError>) {
        let length = text.chars().count() as u64;
        if let Some(max) = self.max_length
            && length > max
        {
            errors.push(FieldError::too_long(path, max));
        } else if let Some(min) = self.min_length
            && length < min
        {
            let rest = format_args!("should be at least {min} chars long");
            errors.push(FieldError::invalid(path, value, rest));
        } else if let Some(Pattern(pattern)) = &self.pattern
            && !pattern.is_match(text)
        {
            let rest = format_args!("should match '{pattern}'");
            errors.push(FieldError::invalid(path, value, rest));
        }
    }

    fn check_number(
        &self,
        value: &Value,
        number: &serde_json::Number,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) {
        let Some(float) = number.as_f64() else { return };
        let fits = match self.format {
            Some(Format::Int32) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Some(Format::Int64) => number.as_i64().is_some(),
            _ => true,
        };
        if !fits {
            let format = match self.format {
                Some(Format::Int32) => "int32",
                _ => "int64",
            };
            errors.push(FieldError::misfit(path, format));
        }
        if let Some(minimum) = self.minimum
            && float < minimum
        {
            let rest = format_args!("should be greater than or equal to {minimum}");
            errors.push(FieldError::invalid(path, value, rest));
        }
        if let Some(maximum) = self.maximum
            && float > maximum
        {
            let rest = format_args!("should be less than or equal to {maximum}");
            errors.push(FieldError::invalid(path, value, rest));
        }
    }

    /// What rules about changes look back to.
    pub(super) fn former(&self, value: &Value) -> Option<Value> {
        let mut kept = Map::new();
        let mut looked_at = false;
        for rule in &self.rules {
            match rule.looks_back() {
                Back::Nothing => {}
                Back::Everything => return Some(value.clone()),
                Back::Fields(names) => {
                    looked_at = true;
                    for name in names {
                        if let Some(field) = value.get(name) {
                            kept.insert(name.clone(), field.clone());
                        }
                    }
                }
            }
        }
        for (key, schema) in &self.properties {
            if let Some(below) = value.get(key).and_then(|value| schema.former(value)) {
                looked_at = true;
                kept.entry(key.clone()).or_insert(below);
            }
        }
        looked_at.then_some(Value::Object(kept))
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A float that is a whole number, as such.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only of what fits without loss"
)]
fn whole(float: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

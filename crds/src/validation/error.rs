//! What is wrong with a field, in the words of Kubernetes (`field.Error` of apimachinery).

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

/// How much of a value a message repeats, in bytes.
const SHOWN: usize = 4096;

/// How many faults a message lists.
const LISTED: usize = 10;

/// All that is wrong with an object; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<FieldError>);

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, such as `spec.ports[0].port`.
    pub path: String,
    kind: Kind,
    /// The value that is wrong, as Kubernetes prints it; empty where it is not repeated.
    value: String,
    /// What is wrong with it; may be empty.
    detail: String,
}

/// `field.ErrorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    TooLong,
    TooMany,
    Duplicate,
}

// === impl FieldError ===

impl FieldError {
    fn new(path: &str, kind: Kind, value: String, detail: String) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            value,
            detail,
        }
    }

    pub(super) fn unknown(path: &str) -> Self {
        Self::new(path, Kind::Unknown, String::new(), String::new())
    }

    pub(super) fn required(path: &str) -> Self {
        Self::new(path, Kind::Required, String::new(), String::new())
    }

    pub(super) fn wrong_type(path: &str, wanted: &str, value: &Value) -> Self {
        let found = type_of(value);
        let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
        Self::new(path, Kind::TypeInvalid, format!("\"{found}\""), detail)
    }

    /// `rest` completes the sentence `PATH in body …`.
    pub(super) fn invalid(path: &str, value: &Value, rest: impl Display) -> Self {
        let detail = format!("{path} in body {rest}");
        Self::new(path, Kind::Invalid, shown(value), detail)
    }

    pub(super) fn not_supported(path: &str, value: &Value, supported: &[Value]) -> Self {
        let supported: Vec<String> = supported.iter().map(Value::to_string).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        Self::new(path, Kind::NotSupported, shown(value), detail)
    }

    pub(super) fn too_long(path: &str, max: u64) -> Self {
        let detail = format!("may not be more than {max} bytes");
        Self::new(path, Kind::TooLong, String::new(), detail)
    }

    pub(super) fn too_many(path: &str, items: usize, max: u64) -> Self {
        let detail = format!("must have at most {max} items");
        Self::new(path, Kind::TooMany, items.to_string(), detail)
    }

    pub(super) fn duplicate(path: &str, value: &Value) -> Self {
        Self::new(path, Kind::Duplicate, shown(value), String::new())
    }

    pub(super) fn rule(path: &str, value: &Value, message: String) -> Self {
        let value = match value {
            Value::Array(_) | Value::Object(_) => String::new(),
            value => shown(value),
        };
        Self::new(path, Kind::Invalid, value, message)
    }

    /// A number that its format cannot hold. The API server tells neither field nor value apart from the sentence.
    pub(super) fn misfit(path: &str, format: &str) -> Self {
        let detail =
            format!("Checked value must be of type integer with format {format} in {path}");
        Self::new("", Kind::Invalid, "\"\"".to_owned(), detail)
    }

    pub(super) fn no_map_entry(path: &str, value: &Value) -> Self {
        let detail = "must be an object for an array of list-type map";
        Self::new(path, Kind::Invalid, shown(value), detail.to_owned())
    }

    pub(super) fn unchecked() -> Self {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing \
                      errors to complete validation";
        Self::new("", Kind::Invalid, "null".to_owned(), detail.to_owned())
    }

    /// Whether rules need not be asked any more: they could not rely on the object's form.
    pub(super) fn is_blocking(&self) -> bool {
        use Kind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        let blocking = [NotSupported, Required, TooLong, TooMany, TypeInvalid];
        blocking.contains(&self.kind)
    }

    /// Whether it is about a field that the schema does not have.
    pub fn is_unknown_field(&self) -> bool {
        self.kind == Kind::Unknown
    }

    /// What Kubernetes calls the `reason` of a cause.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            Kind::Unknown => "FieldValueUnknown",
            Kind::Required => "FieldValueRequired",
            Kind::Invalid => "FieldValueInvalid",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::Duplicate => "FieldValueDuplicate",
        }
    }

    /// What is wrong, without where: the `message` of a cause.
    pub fn message(&self) -> String {
        let Self {
            kind,
            value,
            detail,
            ..
        } = self;
        let kind = match kind {
            Kind::Unknown => return "unknown field".to_owned(),
            Kind::Required => "Required value",
            Kind::Invalid | Kind::TypeInvalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::Duplicate => "Duplicate value",
        };
        let parts = [kind, value, detail];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(": ")
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Unknown => write!(f, "unknown field {:?}", self.path),
            _ if self.path.is_empty() => f.write_str(&self.message()),
            _ => write!(f, "{}: {}", self.path, self.message()),
        }
    }
}

// === impl Invalid ===

impl Display for Invalid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().take(LISTED).enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Invalid {}

/// A value's type, by JSON Schema's name.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The value as a message repeats it.
fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > SHOWN {
        let mut end = SHOWN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

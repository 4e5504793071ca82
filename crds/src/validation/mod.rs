//! The API server's judgement on an object, where there is no API server: what the definitions in `manifests/crds/` refuse
//! is refused here, by the same schemas ([`manifest::schema`]) and in the same words. `tests/agreement.rs` holds both
//! judges against each other.
//!
//! The order is the API server's: fields that do not exist are told, nulls are pruned and defaults filled in, then the
//! structural schema is checked (types, limits, patterns, enums, sets and maps), and where that leaves no doubt about
//! the object's form, the CEL rules. `metadata` and `status` are not looked at.
//!
//! The structural part is ours: JSON Schema validators know neither the pruning nor sets and maps, and have other words
//! for it. The rules are evaluated by `cel`, with Kubernetes' functions of `kube-cel`, the library of kube-rs.

mod error;
mod rules;
mod structural;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

pub use self::error::{FieldError, Invalid};
use self::structural::Structural;
use crate::manifest;

/// The judge of one kind.
#[derive(Debug)]
pub struct Validator(Structural);

/// By kind; of each the definition is parsed once.
static VALIDATORS: LazyLock<BTreeMap<String, Result<Validator, String>>> = LazyLock::new(|| {
    manifest::definitions()
        .iter()
        .map(|definition| {
            let validator = Structural::new(&manifest::schema(definition)).map(Validator);
            (definition.spec.names.kind.clone(), validator)
        })
        .collect()
});

// === impl Validator ===

impl Validator {
    /// The judge of this kind, such as `Vpc`.
    ///
    /// # Errors
    /// When there is no such kind, or its schema has something in it that this module does not know: a fault of this
    /// crate, of which the tests would tell.
    pub fn of(kind: &str) -> Result<&'static Self, &'static str> {
        match VALIDATORS.get(kind) {
            None => Err("there is no such kind"),
            Some(Ok(validator)) => Ok(validator),
            Some(Err(fault)) => Err(fault),
        }
    }

    /// Judges an object, and makes its `spec` what the API server would store: without nulls, with defaults. `former` is
    /// what [`Validator::former`] said of the object that it is to replace; without one it is new, and rules about
    /// changes do not apply.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn validate(&self, object: &mut Value, former: Option<&Value>) -> Result<(), Invalid> {
        let mut errors = Vec::new();
        let Some(root) = object.as_object_mut() else {
            errors.push(FieldError::wrong_type("", "object", object));
            return Err(Invalid(errors));
        };
        self.0.unknown_fields(root, &mut errors);
        // As the API server does: what is misspelt counts as not there.
        let given = root.remove("spec");
        let mut judged = Value::Object(Map::from_iter(given.map(|spec| ("spec".to_owned(), spec))));
        self.0.prune_and_default(&mut judged);
        self.0.check(&judged, &mut errors);
        if errors.iter().any(FieldError::is_blocking) {
            if self.0.has_rules() {
                errors.push(FieldError::unchecked());
            }
        } else {
            self.0.check_rules(&judged, former, "", &mut errors);
        }
        if let Some(spec) = judged.get_mut("spec") {
            root.insert("spec".to_owned(), spec.take());
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Invalid(errors))
        }
    }

    /// Of an object that was accepted what rules about changes look back to, and no more: it is to be remembered for
    /// each object. `None`: nothing of it.
    pub fn former(&self, object: &Value) -> Option<Value> {
        self.0.former(object)
    }
}

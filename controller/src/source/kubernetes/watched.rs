//! One object as a watch brings it, decoded in place: kube's watcher is handed its metadata, the engine its change.

use std::borrow::Cow;
use std::marker::PhantomData;

use kube::api::ObjectMeta;
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use yusur_planner::{Change, ObjectName, ObjectRef};

use super::resource::{Resource, Watch};
use crate::source::shape::Metadata;

/// An object of the kind `W`.
pub(super) struct Watched<W> {
    /// Resource version only: what kube's watcher reads.
    metadata: ObjectMeta,
    /// Which object it is.
    pub(super) object: ObjectRef,
    /// The object, or what of it cannot be decoded. Boxed, as it passes through several hands.
    pub(super) change: Result<Box<Change>, String>,
    kind: PhantomData<fn() -> W>,
}

/// What even an object that cannot be decoded has.
#[derive(Deserialize)]
struct Bare {
    metadata: Metadata,
}

// === impl Watched ===

impl<'de, W: Watch> Deserialize<'de> for Watched<W> {
    /// Fails only for what has no metadata; everything else that is wrong is in `change`, so that one object which
    /// cannot be decoded does not break the watch of all others.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&'de RawValue>::deserialize(deserializer)?.get();
        match serde_json::from_str::<W::Shape>(text) {
            Ok(shape) => {
                let metadata = W::metadata(&shape);
                let version = metadata.resource_version.clone();
                let change = W::change(shape);
                Ok(Self::new(change.object(), version, Ok(Box::new(change))))
            }
            Err(_) => {
                let mend = mend::<W>(text);
                let bare: Bare = serde_json::from_str(text).map_err(serde::de::Error::custom)?;
                let object = reference::<W>(&bare.metadata);
                Ok(Self::new(object, bare.metadata.resource_version, Err(mend)))
            }
        }
    }
}

/// What cannot be decoded, and where. Looked for only then: keeping track of the place takes a third of the time.
fn mend<W: Watch>(text: &str) -> String {
    let mut json = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, W::Shape>(&mut json) {
        Err(error) => format!("{}: {}", error.path(), error.inner()),
        Ok(_) => "there is more than one object".to_owned(),
    }
}

fn reference<W: Watch>(metadata: &Metadata) -> ObjectRef {
    let name = metadata.name.as_deref().unwrap_or_default();
    let name = if W::KIND.namespaced() {
        ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), name)
    } else {
        ObjectName::cluster(name)
    };
    ObjectRef {
        kind: W::KIND,
        name,
    }
}

impl<W> Watched<W> {
    fn new(
        object: ObjectRef,
        resource_version: Option<String>,
        change: Result<Box<Change>, String>,
    ) -> Self {
        let metadata = ObjectMeta {
            resource_version,
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            object,
            change,
            kind: PhantomData,
        }
    }
}

// By hand, since deriving would ask the same of the marker `W`.
impl<W> Clone for Watched<W> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            object: self.object.clone(),
            change: self.change.clone(),
            kind: PhantomData,
        }
    }
}

impl<W> std::fmt::Debug for Watched<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.object).finish()
    }
}

impl<W: Watch> kube::Resource for Watched<W> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        W::KIND.as_str().into()
    }
    fn group((): &()) -> Cow<'_, str> {
        Resource::of(W::KIND).group.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        Resource::of(W::KIND).version.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        Resource::of(W::KIND).plural.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

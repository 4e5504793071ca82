//! Names of objects: cheap to clone, shared between the maps that hold them.

use std::fmt;

use arcstr::ArcStr;

/// One name: of a namespace, a cluster-scoped object, a node. Cloning it copies a pointer, which is all it takes where it
/// is kept (an `Arc<str>` takes two words).
pub type Name = ArcStr;

/// Name of a namespaced object. A cluster-scoped object has the empty namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: Name,
    /// Name within the namespace.
    pub name: Name,
}

impl ObjectName {
    /// A namespaced name.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The name of a cluster-scoped object.
    pub fn cluster(name: impl Into<Name>) -> Self {
        Self {
            namespace: "".into(),
            name: name.into(),
        }
    }

    /// Reads `namespace/name`, or `name` alone for a cluster-scoped object.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::cluster(text),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Tenants: what each of those who send may do in all.

use std::sync::Arc;

use crate::limits::Limits;
use crate::read::{Keys, Reader};
use crate::write::Map;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub name: Arc<str>,
    /// Over all pools and sites.
    pub limits: Limits,
}

impl Tenant {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        Self {
            name: Arc::clone(&reader.name),
            limits: Limits::read(reader, keys, "limits"),
        }
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        map.map("limits", self.limits.write())
    }
}

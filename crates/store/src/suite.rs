//! openraft's own tests of a storage.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use skein_model::GroupId;
use tempfile::TempDir;

use crate::db::{Options, Store};
use crate::{Hooks, LogStore, MetaMachine, StateMachine, TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine<MetaMachine>, (TempDir, Arc<Store>)>
    for Builder
{
    async fn build(
        &self,
    ) -> Result<((TempDir, Arc<Store>), LogStore, StateMachine<MetaMachine>), StorageError<u64>>
    {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::small()).unwrap();
        let (log, machine) = store.group(GroupId(7), MetaMachine, Hooks::default())?;
        Ok(((dir, store), log, machine))
    }
}

#[test]
fn the_storage_keeps_openrafts_rules() {
    Suite::test_all(Builder).unwrap();
}

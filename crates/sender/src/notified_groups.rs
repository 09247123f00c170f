//! Groups that go by what they were told of a site, until they are told otherwise.

use std::collections::HashMap;

use skein_client::Reporter;
use skein_model::{GroupId, Slot};

/// A site has one slot in most groups, and 64 at most; and groups and names are few. Others go by what they were told for
/// as long as it was said to last.
const GROUPS_MAX: usize = 1024;

/// What a group knows a task by, beside its id.
#[derive(Debug, Clone, Copy)]
pub struct Filed<'a> {
    pub group: GroupId,
    pub slot: Slot,
    /// Of its site.
    pub name: &'a str,
    pub reporter: &'a Reporter,
}

/// By the slots and names that the site's tasks are filed under.
#[derive(Debug, Default)]
pub struct NotifiedGroups(HashMap<(GroupId, Slot, String), Reporter>);

impl NotifiedGroups {
    /// Remembers the group of a task. Says whether it is new here.
    pub fn insert(&mut self, filed: Filed<'_>) -> bool {
        let told = (filed.group, filed.slot, filed.name.to_owned());
        let is_new = self.0.len() < GROUPS_MAX && !self.0.contains_key(&told);
        if is_new {
            self.0.insert(told, filed.reporter.clone());
        }
        is_new
    }

    /// Forgets the groups, each of which is to be told otherwise.
    pub fn drain(&mut self, tell: impl Fn(&Reporter, &str, Slot)) {
        for ((_, slot, name), reporter) in self.0.drain() {
            tell(&reporter, &name, slot);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

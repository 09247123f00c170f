//! Pools: which IPs share the work, and who takes what they cannot.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::limits::Limits;
use crate::names::resource_name;
use crate::place::At;
use crate::read::{Keys, Reader};
use crate::write::Map;

/// Each task chooses among them.
pub const MEMBERS_MAX: usize = 1024;
/// A thousand to one is as much as can be told apart in a day's figures.
pub const WEIGHT_MAX: u32 = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: Arc<str>,
    pub members: Vec<Member>,
    /// The pool that takes what no member of this one can.
    pub overflow: Option<At<String>>,
    /// Of all members over all sites.
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub ip: At<String>,
    /// Its part of the pool's mail, 1 to [`WEIGHT_MAX`].
    pub weight: u32,
}

impl Pool {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        keys.record_need("members");
        let line = keys.line_of("members").unwrap_or(keys.line);
        let members = read_members(reader, keys);
        if !keys.has("members") || keys.is_empty_list("members") {
            reader.fault(
                line,
                "members",
                "is empty: name at least one ip, as - ip: name",
            );
        }
        Self {
            name: Arc::clone(&reader.name),
            members,
            overflow: keys.value(reader, "overflow", resource_name),
            limits: Limits::read(reader, keys, "limits"),
        }
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        let member = |member: &Member| {
            let weight = (member.weight != 1).then_some(member.weight);
            Map::default()
                .set("ip", &member.ip.value)
                .set_if("weight", weight)
        };
        map.maps("members", self.members.iter().map(member))
            .set_if("overflow", self.overflow.as_ref().map(|pool| &pool.value))
            .map("limits", self.limits.write())
    }
}

fn read_members(reader: &mut Reader, keys: &mut Keys<'_>) -> Vec<Member> {
    let mut names = BTreeSet::new();
    let mut members = Vec::new();
    for mut keys in keys.maps(reader, "members", MEMBERS_MAX) {
        let ip = keys.need(reader, "ip", resource_name);
        let weight = keys.whole(reader, "weight", 1..=WEIGHT_MAX);
        keys.finish(reader);
        let Some(ip) = ip else { continue };
        if !names.insert(ip.value.clone()) {
            let message = format!(
                "{:?} is a member already: give it a higher weight instead",
                ip.value
            );
            reader.fault(ip.origin.place.line, &ip.origin.key, message);
        }
        let weight = weight.map_or(1, |weight| weight.value);
        members.push(Member { ip, weight });
    }
    members
}

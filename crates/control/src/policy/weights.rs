//! What share of the cluster each tenant has: as the policy says, else as an operator gave it.

use std::collections::BTreeMap;

use skein_model::meta;
use skein_policy::Policy;
use skein_store::Reader;

use super::read;

/// The weights of all tenants, as of one state of the rows.
#[derive(Debug, Default)]
pub struct Weights {
    told: Option<(u64, u64)>,
    of_policy: BTreeMap<String, u32>,
}

impl Weights {
    /// Those of tenants whose weight is not 1, if they may have changed since they were asked for.
    pub fn changed(&mut self, reader: &Reader) -> Option<BTreeMap<String, u32>> {
        // Read first: a change that comes between is told again.
        let versions = (meta::policy_version(reader), meta::weights_version(reader));
        if self.told == Some(versions) {
            return None;
        }
        if self.told.is_none_or(|(policy, _)| policy != versions.0)
            && let Some(policy) = read(reader, "weights of tenants stay as they are")
        {
            self.of_policy = of_policy(&policy);
        }
        self.told = Some(versions);
        Some(merged(meta::weights(reader), &self.of_policy))
    }
}

/// The weights at this moment.
pub fn weights(reader: &Reader) -> BTreeMap<String, u32> {
    Weights::default().changed(reader).unwrap_or_default()
}

/// The weight that the policy gives a tenant.
pub fn weight_by_policy(reader: &Reader, tenant: &str) -> Option<u32> {
    let policy = read(reader, "an operator's word counts")?;
    policy.tenant(tenant)?.weight
}

fn of_policy(policy: &Policy) -> BTreeMap<String, u32> {
    let given = policy.tenants().filter_map(|tenant| {
        let weight = tenant.weight?;
        Some((tenant.name.to_string(), weight))
    });
    given.collect()
}

/// What the policy says goes first, also where it says 1.
fn merged(
    by_operators: BTreeMap<String, u32>,
    of_policy: &BTreeMap<String, u32>,
) -> BTreeMap<String, u32> {
    let mut weights = by_operators;
    weights.extend(of_policy.clone());
    weights.retain(|_, weight| *weight != 1);
    weights
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::Source;

    use super::*;

    #[test]
    fn the_policy_goes_before_an_operators_word() {
        let text = "kind: tenant\nname: a\nweight: 5\n---\nkind: tenant\nname: b\nweight: 1\n---\nkind: tenant\nname: c\n";
        let policy = Policy::parse(&[Source { name: "t", text }]).unwrap();
        let named = |pairs: &[(&str, u32)]| -> BTreeMap<String, u32> {
            let pairs = pairs
                .iter()
                .map(|(name, weight)| ((*name).to_owned(), *weight));
            pairs.collect()
        };
        let by_operators = named(&[("a", 2), ("b", 3), ("c", 4)]);
        let merged = merged(by_operators, &of_policy(&policy));
        assert_eq!(merged, named(&[("a", 5), ("c", 4)]));
    }
}

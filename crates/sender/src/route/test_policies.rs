//! MTA-STS policies of tests.

use super::*;

/// Of all domains the same.
pub struct TestPolicies {
    pub kept: Option<Arc<StsPolicy>>,
    /// What is found when it is looked for again.
    pub fetched: Option<Arc<StsPolicy>>,
}

impl TestPolicies {
    pub const fn none() -> Self {
        Self {
            kept: None,
            fetched: None,
        }
    }
}

impl StsPolicies for TestPolicies {
    async fn sts_policy(
        &self,
        _domain: &str,
        again: bool,
    ) -> Result<Option<Arc<StsPolicy>>, SpoolError> {
        Ok(match again {
            true => self.fetched.clone(),
            false => self.kept.clone(),
        })
    }
}

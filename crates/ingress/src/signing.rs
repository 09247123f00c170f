//! What a message is signed with, and what keeps it from being taken. Pure.

use skein_client::signing::{DomainSigning, MailSigning, Unusable};
use skein_dkim::Signer;
use skein_smtp::reply::Reply;

/// Of one message: two keys of one domain and two of the operator's, or three authors and the operator. More would make the header
/// longer than that of most mail.
const SIGNATURES_MAX: usize = 4;
/// Of what a reply says of a cause.
const CAUSE_CHARS_MAX: usize = 200;
/// Of a name in the DNS.
const NAME_BYTES_MAX: usize = 253;

/// The domains that a message claims to be from, and what is known of them.
#[derive(Debug)]
pub struct Authors {
    /// A-labels in lower case, each once.
    pub domains: Vec<String>,
    pub signing: MailSigning,
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// One of its authors is of another tenant's domain.
    Foreign { domain: String },
    /// It cannot be signed for each author.
    TooMany { domains: usize },
    /// A key is missing, for this reason.
    Waits { domain: String, why: String },
}

/// Whether a domain can be one of the cluster's: no address literal, and nothing that the DNS cannot have.
pub fn is_name(domain: &str) -> bool {
    domain.is_ascii() && !domain.starts_with('[') && (1..=NAME_BYTES_MAX).contains(&domain.len())
}

impl Authors {
    /// Whether the tenant has shown that a domain is its own.
    pub fn is_verified_of(&self, tenant: &str, domain: &str) -> bool {
        let known = self.domains.iter().zip(&self.signing.domains);
        let mut same = known.filter(|(known, _)| *known == domain);
        same.any(|(_, found)| found.as_deref().is_some_and(|found| is_of(found, tenant)))
    }

    /// What mail of this tenant from these authors is signed with: for each of its own domains once, then with the operator's
    /// key, then with further keys of them.
    ///
    /// A domain that nobody has shown to be theirs keeps no other tenant from sending as it: else anyone could have others'
    /// mail refused by adding their domains.
    ///
    /// # Errors
    /// It is not to be taken, or not now.
    pub fn signers(&self, tenant: &str) -> Result<Vec<Signer>, Refused> {
        let mut own: Vec<&DomainSigning> = Vec::new();
        for (domain, found) in self.domains.iter().zip(&self.signing.domains) {
            let Some(found) = found.as_deref() else {
                continue;
            };
            if found.tenant != tenant {
                if found.is_verified {
                    let domain = domain.clone();
                    return Err(Refused::Foreign { domain });
                }
                // It has the operator's signature, which may be waited for.
                waits(domain, &found.signers)?;
            } else if own.iter().all(|known| known.domain != found.domain) {
                own.push(found);
            }
        }
        let mut keys: Vec<&[Signer]> = Vec::new();
        for found in own {
            keys.push(waits(&found.domain, &found.signers)?);
        }
        keys.push(waits("the operator", &self.signing.operator)?);
        let firsts = keys.iter().filter_map(|keys| keys.first());
        let further = keys.iter().flat_map(|keys| keys.iter().skip(1));
        let domains = firsts.clone().count();
        if domains > SIGNATURES_MAX {
            return Err(Refused::TooMany { domains });
        }
        Ok(firsts
            .chain(further)
            .take(SIGNATURES_MAX)
            .cloned()
            .collect())
    }
}

/// The keys, if all can be used.
fn waits<'s>(
    domain: &str,
    signers: &'s Result<Vec<Signer>, Unusable>,
) -> Result<&'s [Signer], Refused> {
    match signers {
        Ok(signers) => Ok(signers),
        Err(why) => Err(Refused::Waits {
            domain: domain.to_owned(),
            why: why.to_string(),
        }),
    }
}

fn is_of(found: &DomainSigning, tenant: &str) -> bool {
    found.is_verified && found.tenant == tenant
}

impl Refused {
    pub fn reply(&self) -> Reply {
        match self {
            Self::Foreign { domain } => {
                let text = format!("{domain} is a domain of another tenant");
                Reply::new(550, (5, 7, 1), text)
            }
            Self::TooMany { domains } => {
                let text = format!(
                    "The message needs {domains} DKIM signatures for its authors, and gets {SIGNATURES_MAX} at most: name \
                     fewer in From"
                );
                Reply::new(550, (5, 7, 1), text)
            }
            Self::Waits { domain, why } => {
                let why: String = why.chars().take(CAUSE_CHARS_MAX).collect();
                let text =
                    format!("Mail cannot be signed for {domain} now, try again later: {why}");
                Reply::new(451, (4, 7, 5), text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use proptest::prelude::*;
    use skein_dkim::PrivateKey;

    use super::*;

    fn keys(domain: &str, count: usize) -> Vec<Signer> {
        let key = Arc::new(PrivateKey::ed25519_of(&[7; 32]).unwrap());
        let keys = (1..=count).map(|nth| Signer::new(domain, &format!("sk{nth}"), key.clone()));
        keys.collect()
    }

    fn domain(name: &str, tenant: &str, is_verified: bool, count: usize) -> DomainSigning {
        DomainSigning {
            domain: name.into(),
            tenant: tenant.into(),
            is_verified,
            signers: Ok(keys(name, count)),
        }
    }

    fn authors(found: Vec<(&str, Option<DomainSigning>)>, operator: usize) -> Authors {
        let domains = found.iter().map(|(name, _)| (*name).to_owned()).collect();
        let found = found.into_iter().map(|(_, found)| found.map(Arc::new));
        Authors {
            domains,
            signing: MailSigning {
                domains: found.collect(),
                operator: Arc::new(Ok(keys("esp.test", operator))),
            },
        }
    }

    fn check(found: Vec<(&str, Option<DomainSigning>)>, operator: usize, expected: &[&str]) {
        let signers = authors(found, operator).signers("acme").unwrap();
        let said = signers
            .iter()
            .map(|signer| format!("{}/{}", signer.domain(), signer.selector()));
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_own_domain_and_the_operator_sign() {
        let a = |count| ("mail.a.test", Some(domain("a.test", "acme", true, count)));
        let b = ("b.test", Some(domain("b.test", "acme", true, 2)));
        check(vec![], 1, &["esp.test/sk1"]);
        check(vec![("c.test", None)], 1, &["esp.test/sk1"]);
        check(vec![a(1)], 1, &["a.test/sk1", "esp.test/sk1"]);
        check(vec![a(0)], 1, &["esp.test/sk1"]);
        check(vec![a(1)], 0, &["a.test/sk1"]);
        check(
            vec![a(2), ("c.test", None), b],
            2,
            &["a.test/sk1", "b.test/sk1", "esp.test/sk1", "a.test/sk2"],
        );
        // Two authors of one domain.
        let twice = ("news.a.test", Some(domain("a.test", "acme", true, 1)));
        check(vec![a(1), twice], 1, &["a.test/sk1", "esp.test/sk1"]);
        // Nobody has shown that it is theirs.
        let other = ("d.test", Some(domain("d.test", "other", false, 1)));
        check(vec![other], 1, &["esp.test/sk1"]);
    }

    #[test]
    fn what_is_not_signed_is_not_taken() {
        let own = || ("a.test", Some(domain("a.test", "acme", true, 1)));
        let foreign = ("x.b.test", Some(domain("b.test", "other", true, 1)));
        let refused = authors(vec![own(), foreign], 1)
            .signers("acme")
            .unwrap_err();
        assert!(format!("{:?}", refused.reply()).contains("another tenant"));
        assert_eq!(refused.reply().code, 550);
        let gone = DomainSigning {
            signers: Err(Unusable("its record is gone".into())),
            ..domain("a.test", "acme", true, 0)
        };
        let refused = authors(vec![("a.test", Some(gone))], 1).signers("acme");
        let reply = refused.unwrap_err().reply();
        assert_eq!(reply.code, 451);
        assert!(format!("{reply:?}").contains("its record is gone"));
        let mut broken = authors(vec![own()], 0);
        broken.signing.operator = Arc::new(Err(Unusable("no key".into())));
        assert_eq!(broken.signers("acme").unwrap_err().reply().code, 451);
        // Of nobody here, while the operator's key is gone.
        let nobodys = DomainSigning {
            signers: Err(Unusable("the operator's is gone".into())),
            ..domain("", "", false, 0)
        };
        let refused = authors(vec![("c.test", Some(nobodys))], 0).signers("acme");
        assert_eq!(refused.unwrap_err().reply().code, 451);
        let many = ["a.test", "b.test", "c.test", "d.test"];
        let many = many.map(|name| (name, Some(domain(name, "acme", true, 1))));
        let refused = authors(many.into(), 1).signers("acme").unwrap_err();
        assert_eq!(refused, Refused::TooMany { domains: 5 });
    }

    #[test]
    fn a_domain_is_the_tenants_once_it_has_shown_that() {
        let found = authors(
            vec![
                ("mail.a.test", Some(domain("a.test", "acme", true, 1))),
                ("b.test", Some(domain("b.test", "acme", false, 1))),
                ("c.test", None),
            ],
            1,
        );
        for (tenant, name, expected) in [
            ("acme", "mail.a.test", true),
            ("acme", "b.test", false),
            ("acme", "c.test", false),
            ("other", "mail.a.test", false),
            ("acme", "never.asked.test", false),
        ] {
            assert_eq!(found.is_verified_of(tenant, name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn signatures_are_bounded_and_none_that_is_due_is_left_out(
            found in prop::collection::vec((0_usize..6, 0_usize..4, any::<bool>()), 0..8),
            operator in 0_usize..3,
        ) {
            let names: Vec<String> = (0..found.len()).map(|nth| format!("{nth}.test")).collect();
            let found = names.iter().zip(&found).map(|(name, (of, count, is_verified))| {
                let of = format!("d{of}.test");
                (&**name, Some(domain(&of, "acme", *is_verified, *count)))
            });
            let authors = authors(found.collect(), operator);
            match authors.signers("acme") {
                Ok(signers) => {
                    prop_assert!(signers.len() <= SIGNATURES_MAX);
                    for found in authors.signing.domains.iter().flatten() {
                        let first = authors.signing.domains.iter().flatten();
                        let mut first = first.filter(|other| other.domain == found.domain);
                        let due = first.next().unwrap().signers.as_ref().unwrap();
                        let signs = signers.iter().any(|signer| signer.domain() == found.domain);
                        prop_assert_eq!(signs, !due.is_empty());
                    }
                    prop_assert_eq!(signers.iter().any(|s| s.domain() == "esp.test"), operator > 0);
                }
                Err(Refused::TooMany { domains }) => prop_assert!(domains > SIGNATURES_MAX),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

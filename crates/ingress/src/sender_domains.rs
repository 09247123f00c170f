//! As which domains a tenant sends. Pure.

use skein_mail::authors::author_domains;
use skein_policy::{Pattern, Tenant};
use skein_smtp::address::Address;
use skein_smtp::reply::Reply;

use crate::message_signing::routing_domain;

/// Domains that a refusal names.
const NAMED_MAX: usize = 3;

/// What is not the tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The domain, or what makes it unclear.
    pub what: String,
    pub reply: Reply,
}

/// Whether mail of a tenant may have this return path; none is that of reports.
///
/// # Errors
/// The tenant may not.
pub fn check_return_path(tenant: &Tenant, path: Option<&Address>) -> Result<(), Refused> {
    match path.map(Address::routing_domain) {
        Some(domain) if !tenant.may_send_as(&domain) => Err(refused(tenant, &domain)),
        _ => Ok(()),
    }
}

/// Whether mail of a tenant may have these fields: each author and who sends for them is of its domains, those of the policy or
/// those that it has shown to be its own.
///
/// # Errors
/// The tenant may not, or nobody can tell.
pub fn check_authors(
    tenant: &Tenant,
    header: &[u8],
    has_shown: impl Fn(&str) -> bool,
) -> Result<(), Refused> {
    if tenant.sender_domains.is_empty() {
        return Ok(());
    }
    let domains = author_domains(header).map_err(|unclear| {
        let text = format!(
            "tenant {:?} sends as its own domains only, and {unclear}",
            tenant.name
        );
        Refused {
            what: unclear.to_string(),
            reply: Reply::new(550, (5, 7, 1), text),
        }
    })?;
    for written in domains {
        let domain = routing_domain(&written);
        if !tenant.may_send_as(&domain) && !has_shown(&domain) {
            return Err(refused(tenant, &domain));
        }
    }
    Ok(())
}

fn refused(tenant: &Tenant, domain: &str) -> Refused {
    let named = tenant.sender_domains.iter().take(NAMED_MAX);
    let mut named: Vec<String> = named.map(Pattern::domain_text).collect();
    if let Some(more) = tenant.sender_domains.len().checked_sub(NAMED_MAX + 1) {
        named.push(format!("{} more", more + 1));
    }
    let name = &tenant.name;
    let text = format!(
        "tenant {name:?} may not send as {domain}: its domains are {}",
        named.join(", ")
    );
    Refused {
        what: domain.to_owned(),
        reply: Reply::new(550, (5, 7, 1), text),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::{Policy, Source};

    use super::*;

    fn tenant(keys: &str) -> std::sync::Arc<Tenant> {
        let text = format!("kind: tenant\nname: acme\n{keys}\n");
        let source = Source {
            name: "p.yaml",
            text: &text,
        };
        let policy = Policy::parse(&[source]).unwrap();
        std::sync::Arc::clone(policy.tenant("acme").unwrap())
    }

    #[test]
    fn a_tenant_sends_as_its_domains_in_envelope_and_header() {
        let tenant = tenant("sender_domains: [a.example, '*.a.example', xn--bcher-kva.example]");
        let path = |text: &str| check_return_path(&tenant, Some(&text.parse().unwrap()));
        assert_eq!(check_return_path(&tenant, None), Ok(()));
        assert!(path("x@a.example").is_ok() && path("x@B.A.example").is_ok());
        let refused = path("x@b.example").unwrap_err();
        assert_eq!(refused.what, "b.example");
        let text = format!("{:?}", refused.reply);
        assert!(
            text.contains("may not send as b.example: its domains are a.example, *.a.example"),
            "{text}"
        );
        let authors = |text: &str| {
            check_authors(&tenant, text.as_bytes(), |_| false).map_err(|refused| refused.what)
        };
        assert_eq!(authors("From: x@a.example\r\n"), Ok(()));
        assert_eq!(authors("From: x@A.EXAMPLE\r\n"), Ok(()));
        assert_eq!(authors("From: x@bücher.example\r\n"), Ok(()));
        assert_eq!(
            authors("From: x@a.example\r\nSender: y@b.example\r\n"),
            Err("b.example".into())
        );
        assert_eq!(
            authors("From: x@a.example, y@c.example\r\n"),
            Err("c.example".into())
        );
        assert_eq!(
            authors("Subject: x\r\n"),
            Err("the header has no From".into())
        );
        assert_eq!(
            authors("From: x@a.example\r\nFrom: x@a.example\r\n"),
            Err("the header has more than one From".into())
        );
    }

    #[test]
    fn a_tenant_without_domains_sends_as_any() {
        let tenant = tenant("limits: {connections: 5}");
        assert_eq!(
            check_return_path(&tenant, Some(&"x@b.example".parse().unwrap())),
            Ok(())
        );
        assert_eq!(check_authors(&tenant, b"Subject: x\r\n", |_| false), Ok(()));
    }

    #[test]
    fn domains_that_were_shown_to_be_its_own_need_no_policy() {
        let tenant = tenant("sender_domains: [a.example]");
        let has_shown = |domain: &str| domain == "b.example";
        for (from, expected) in [("a", true), ("b", true), ("c", false)] {
            let header = format!("From: x@{from}.example\r\n");
            let checked = check_authors(&tenant, header.as_bytes(), has_shown);
            assert_eq!(checked.is_ok(), expected, "{from}");
        }
    }

    #[test]
    fn a_refusal_names_a_few_domains() {
        let tenant =
            tenant("sender_domains: [a.example, b.example, c.example, d.example, e.example]");
        let refused =
            check_return_path(&tenant, Some(&"x@z.example".parse().unwrap())).unwrap_err();
        let text = format!("{:?}", refused.reply);
        assert!(
            text.contains("a.example, b.example, c.example, 2 more"),
            "{text}"
        );
    }
}

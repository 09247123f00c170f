//! What is wrong with a domain's records. Ids are stable: people and machines go by them.

use serde::{Serialize, Serializer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is to be done: it comes right by itself.
    Wait,
    /// Mail goes, but not as well as it could.
    Warning,
    /// Mail is not sent, or not believed.
    Error,
}

macro_rules! ids {
    ($($name:ident $id:literal $severity:ident $why:literal)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Id { $($name),* }

        impl Id {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $id),* }
            }

            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn why(self) -> &'static str {
                match self { $(Self::$name => $why),* }
            }
        }
    };
}

ids! {
    NotEverywhere "dns.not_everywhere" Wait "It is published, but not visible everywhere yet; resolvers keep what they had for its TTL."
    NoAnswer "dns.no_answer" Warning "Nobody answered, so nothing is known of the record."
    DoubledName "dns.doubled_name" Error "The record is there under the domain's name twice: the form adds the domain by itself. Enter the name without it."
    OwnershipMissing "ownership.missing" Error "Nothing shows that the tenant owns the domain."
    OwnershipMismatch "ownership.mismatch" Error "The token is another tenant's, or old."
    DkimMissing "dkim.missing" Error "Receivers find no key."
    DkimMismatch "dkim.mismatch" Error "The published key is not the one that mail is signed with."
    DkimOtherTarget "dkim.other_target" Error "The CNAME leads to another name than the key's."
    DkimMultiple "dkim.multiple" Error "There are several records; receivers may take any of them (RFC 6376 3.6.2.2)."
    DkimTesting "dkim.testing" Warning "t=y tells receivers to treat mail as if it were not signed."
    DkimDoubledName "dkim.doubled_name" Error "The key is there under the domain's name twice: the form adds the domain by itself. Enter the name without it."
    DkimTruncated "dkim.truncated" Error "The key was cut off: a string of a TXT record has 255 octets at most. Paste all its pieces, or enter it in one line."
    DkimRevoked "dkim.revoked" Error "p= is empty: the key is revoked."
    DkimNotRevoked "dkim.not_revoked" Warning "The key is no longer good, and its record does not say so with an empty p= yet."
    SpfMultiple "spf.multiple" Error "There is more than one v=spf1 record, which is an error for every sender (RFC 7208 4.5)."
    SpfLookups "spf.lookups" Error "The SPF record needs more than 10 lookups, which is an error for every sender (RFC 7208 4.6.4)."
    SpfVoid "spf.void" Warning "More than 2 lookups of the SPF record find nothing, which many receivers take for an error (RFC 7208 4.6.4)."
    SpfPlusAll "spf.plus_all" Error "+all lets everybody send as the domain."
    SpfBroken "spf.broken" Error "The SPF record is an error for every sender: a term is not understood, or an included domain has no SPF record."
    ReturnPathMissing "rp.missing" Error "Bounces find no way back, and SPF cannot align."
    ReturnPathNotCname "rp.not_cname" Error "There are other records in place of the CNAME."
    ReturnPathOtherTarget "rp.other_target" Error "The CNAME leads to another host, so bounces and SPF do."
    DmarcMissing "dmarc.missing" Error "Neither the domain nor one above it has a DMARC record; large receivers demand one."
    DmarcMultiple "dmarc.multiple" Error "There is more than one DMARC record, which counts as none (RFC 9989)."
    DmarcInvalid "dmarc.invalid" Error "The DMARC record has no p= and no rua=, or a value that is none; receivers disregard it."
    DmarcRemovedTag "dmarc.removed_tag" Warning "The tags pct, rf and ri are gone from DMARC (RFC 9989); receivers disregard them."
    DmarcStrictSpf "dmarc.strict_spf" Warning "aspf=s: the return path is below the domain, so SPF never aligns; mail passes by DKIM alone."
    DmarcRuaUnauthorised "dmarc.rua_unauthorised" Warning "The domain that reports are to go to does not say that it takes them (RFC 9990 4), so none are sent."
    TrackingMissing "tracking.missing" Error "Links in mail lead to a name that is not there."
    TrackingOtherTarget "tracking.other_target" Error "Links in mail lead to another host."
    PtrNone "ptr.none" Error "The source address has no name; large receivers refuse its mail."
    PtrForward "ptr.forward" Error "The name of the source address does not lead back to it."
    EhloNoSpf "ehlo.no_spf" Warning "The EHLO name has no SPF record; mail with an empty return path, such as bounces, is judged by it."
    StsMissing "sts.missing" Warning "Hosts that send to the domain find no MTA-STS policy."
    StsIdStale "sts.id_stale" Warning "The id is not the policy's: hosts go on with the policy that they have."
    TlsRptMissing "tlsrpt.missing" Warning "Nobody reports failures of TLS."
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One fault, with all that is needed to see it and to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub id: Id,
    /// The question.
    pub asked: String,
    /// The answer, verbatim; empty: nothing.
    pub found: Vec<String>,
    /// What the answer would be.
    pub expected: String,
    /// The line of a zone file to publish instead.
    pub paste: Option<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let found = match self.found.as_slice() {
            [] => "nothing".to_owned(),
            found => found.join("\n           "),
        };
        writeln!(f, "{}: {}", self.id.as_str(), self.id.why())?;
        writeln!(f, "  asked:   {}", self.asked)?;
        writeln!(f, "  found:   {found}")?;
        writeln!(f, "  expected: {}", self.expected)?;
        match &self.paste {
            Some(paste) => writeln!(f, "  publish: {paste}"),
            None => Ok(()),
        }
    }
}

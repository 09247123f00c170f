//! Why a host does not take mail for a recipient: classes that lists are kept clean by, whatever words the host chose.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::time::DurationMs;

macro_rules! classes {
    ($($(#[$doc:meta])* $number:literal $class:ident $word:literal $group:ident,)+) => {
        /// What a refusal, a report or an answer that came by mail is about. Its number is kept and is never another's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(index_only)]
        pub enum Class {
            $($(#[$doc])* #[n($number)] $class,)+
        }

        impl Class {
            pub const ALL: [Self; 29] = [$(Self::$class,)+];

            /// The word for it in events, metrics and the CLI.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $word,)+
                }
            }

            #[must_use]
            pub const fn group(self) -> Group {
                match self {
                    $(Self::$class => Group::$group,)+
                }
            }
        }
    };
}

classes! {
    /// Nobody has the address.
    0 InvalidRecipient "invalid_recipient" Hard,
    /// The domain does not exist, or takes no mail (RFC 7505).
    1 InvalidDomain "invalid_domain" Hard,
    /// The mailbox was closed, or nobody looks into it.
    2 InactiveMailbox "inactive_mailbox" Hard,
    /// Who had the address has another one.
    3 Moved "moved" Hard,
    4 MailboxFull "mailbox_full" Soft,
    /// A host that does not know us wants to be asked again.
    5 Greylisted "greylisted" Soft,
    6 RateLimited "rate_limited" Soft,
    7 Busy "busy" Soft,
    8 Network "network" Soft,
    9 Dns "dns" Soft,
    /// The source IP is on a list, or has a bad reputation.
    10 BlockIp "block_ip" Block,
    /// The same of a domain of the sender's.
    11 BlockDomain "block_domain" Block,
    12 SpamContent "spam_content" Content,
    13 Attachment "attachment" Content,
    14 Virus "virus" Content,
    /// SPF, DKIM, DMARC, PTR or TLS is not as the host wants it.
    15 Auth "auth" Policy,
    /// A rule of the recipient or of its organisation.
    16 Policy "policy" Policy,
    17 Relay "relay" Config,
    18 Routing "routing" Config,
    19 Loop "loop" Config,
    20 TooBig "too_big" Technical,
    21 Protocol "protocol" Technical,
    /// It was given up because of its age.
    22 Expired "expired" Technical,
    23 Other "other" Technical,
    /// A program answered for the recipient.
    24 AutoReply "auto_reply" None,
    /// Somebody wants a proof that a person has written.
    25 Challenge "challenge" None,
    26 UnsubscribeRequest "unsubscribe_request" None,
    /// It is still being tried.
    27 Delayed "delayed" None,
    28 Complaint "complaint" None,
}

/// When an address goes on the suppression list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppression {
    Never,
    /// With the first one, until somebody takes it off.
    AtOnce,
    /// With so many within a span.
    After {
        times: u8,
        within: DurationMs,
        /// None: until somebody takes it off.
        lasts: Option<DurationMs>,
    },
}

const fn days(days: u64) -> DurationMs {
    DurationMs::from_secs(days * 24 * 60 * 60)
}

impl Class {
    /// The class of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// When an address that is refused so goes on the suppression list. What is our fault or may pass never puts one there: a
    /// block would empty whole lists. Complaints and wishes to be taken off are no bounces; they are obeyed at once.
    #[must_use]
    pub const fn suppresses(self) -> Suppression {
        match self {
            Self::InvalidRecipient
            | Self::InactiveMailbox
            | Self::Moved
            | Self::UnsubscribeRequest
            | Self::Complaint => Suppression::AtOnce,
            Self::InvalidDomain => Suppression::After {
                times: 2,
                within: days(1),
                lasts: None,
            },
            Self::MailboxFull => Suppression::After {
                times: 5,
                within: days(14),
                lasts: Some(days(30)),
            },
            Self::Policy => Suppression::After {
                times: 3,
                within: days(30),
                lasts: None,
            },
            _ => Suppression::Never,
        }
    }

    /// Whether it is about us: our IPs and domains, what we prove and what the message holds. Such a refusal says nothing of the
    /// address, whatever else is in its text.
    #[must_use]
    pub const fn is_about_sender(self) -> bool {
        matches!(self, Self::Auth) || matches!(self.group(), Group::Block | Group::Content)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What follows from a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The address is no good.
    Hard,
    /// It may be later.
    Soft,
    /// We are not welcome, whoever the recipient is.
    Block,
    /// This message is not.
    Content,
    /// A rule says no; the address exists.
    Policy,
    /// Our configuration, or the destination's, is at fault.
    Config,
    Technical,
    /// No bounce.
    None,
}

impl Group {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Block => "block",
            Self::Content => "content",
            Self::Policy => "policy",
            Self::Config => "config",
            Self::Technical => "technical",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::codec;

    #[test]
    fn a_class_is_kept_as_its_number_and_has_a_word_of_its_own() {
        for (number, class) in Class::ALL.into_iter().enumerate() {
            let bytes = codec::encode(&class);
            assert_eq!(bytes, codec::encode(&(number as u32)), "{class:?}");
            assert_eq!(codec::decode::<Class>(&bytes).unwrap(), class);
            let named = Class::ALL
                .iter()
                .filter(|other| other.name() == class.name());
            assert_eq!(named.count(), 1, "{class:?}");
        }
    }

    #[test]
    fn only_what_says_something_of_the_address_suppresses_at_once() {
        for class in Class::ALL {
            let is_at_once = class.suppresses() == Suppression::AtOnce;
            let may = matches!(class.group(), Group::Hard | Group::None);
            assert!(may || !is_at_once, "{class}");
            if class.is_about_sender() {
                assert_eq!(class.suppresses(), Suppression::Never, "{class}");
            }
        }
    }
}

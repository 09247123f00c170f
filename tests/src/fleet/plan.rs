use std::net::SocketAddr;

/// What differs from one fleet to another. In the lines of senders' files, `{n}` is the number of the sender, from 1 on.
#[derive(Debug)]
pub struct Plan {
    pub control: usize,
    pub senders: usize,
    /// So many of the senders start at first; all unless set.
    pub first: Option<usize>,
    /// As many as nodes make unless set.
    pub spool_groups: Option<u16>,
    /// Whether nodes have certificates of `skein dev-ca` for each other.
    pub has_certificates: bool,
    /// Whether control nodes come, and let others in, without an invitation. Needs certificates.
    pub joins_uninvited: bool,
    /// Further lines within `[cluster.tls]`.
    pub tls: String,
    /// Whether the admin ports take certificates too.
    pub has_operators: bool,
    /// Further sections of each control node's file; `{dns}` is the address of the name server.
    pub control_sections: String,
    /// Takes all mail. Without it senders ask the name server for hosts, and send for each other.
    pub smarthost: Option<SocketAddr>,
    /// Lines of each sender's file, before any section.
    pub top: String,
    /// Who needs no login.
    pub relay_networks: &'static str,
    /// Lines within its `[smtp]`.
    pub smtp: String,
    /// Lines within its `[delivery]`.
    pub delivery: String,
    /// Further sections of it.
    pub sections: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            control: 1,
            senders: 1,
            first: None,
            spool_groups: None,
            has_certificates: false,
            joins_uninvited: false,
            tls: String::new(),
            has_operators: false,
            control_sections: String::new(),
            smarthost: None,
            top: String::new(),
            relay_networks: "[\"127.0.0.0/8\"]",
            smtp: String::new(),
            delivery: String::new(),
            sections: String::new(),
        }
    }
}

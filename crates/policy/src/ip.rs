//! Source IPs, and the proxies that some of them live at.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::Limits;
use crate::names::{host_name, node_name};
use crate::read::{Keys, Reader};
use crate::write::Map;

/// RFC 1929 2.
const LOGIN_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    pub name: Arc<str>,
    /// The address on the node, or at the proxy.
    pub bind: IpAddr,
    /// The address that the world sees.
    pub public: IpAddr,
    /// What the sender calls itself on connections from here.
    pub ehlo: String,
    /// The node that has it; none: any that has the address.
    pub home: Option<String>,
    /// Nothing is sent from it.
    pub is_suspended: bool,
    /// Of the IP over all sites.
    pub limits: Limits,
    pub proxy: Option<Proxy>,
}

/// A proxy that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// RFC 1928.
    Socks5 {
        server: String,
        login: Option<Login>,
    },
    /// The PROXY protocol, version 2.
    Haproxy { server: String },
}

#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Ip {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        let bind = keys.need(reader, "bind", address);
        let public = keys.value(reader, "public", address);
        let ehlo = keys.need(reader, "ehlo", host_name);
        let home = keys.value(reader, "home", node_name);
        let is_suspended = keys.is_suspended(reader);
        let limits = Limits::read(reader, keys, "limits");
        let proxy = read_proxy(reader, keys);
        let bind = bind?.value;
        if let Some(public) = public
            .as_ref()
            .filter(|public| public.value.is_ipv4() != bind.is_ipv4())
        {
            let origin = &public.origin;
            let message = format!("must be of the same kind (IPv4 or IPv6) as bind, {bind}");
            reader.fault(origin.place.line, &origin.key, message);
        }
        Some(Self {
            name: Arc::clone(&reader.name),
            bind,
            public: public.map_or(bind, |public| public.value),
            ehlo: ehlo?.value,
            home: home.map(|home| home.value),
            is_suspended,
            limits,
            proxy,
        })
    }

    pub(crate) fn masked(&self) -> Self {
        let mut masked = self.clone();
        if let Some(Proxy::Socks5 {
            login: Some(login), ..
        }) = &mut masked.proxy
        {
            MASK.clone_into(&mut login.password);
        }
        masked
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        let public = (self.public != self.bind).then_some(self.public);
        let proxy = Map::default();
        let proxy = match &self.proxy {
            None => proxy,
            Some(Proxy::Haproxy { server }) => proxy.set("haproxy", server),
            Some(Proxy::Socks5 { server, login }) => proxy
                .set("socks5", server)
                .set_if("user", login.as_ref().map(|login| &login.user))
                .set_if("password", login.as_ref().map(|login| &login.password)),
        };
        map.set("bind", self.bind)
            .set_if("public", public)
            .set("ehlo", &self.ehlo)
            .set_if("home", self.home.as_ref())
            .set_if("state", self.is_suspended.then_some("suspended"))
            .map("limits", self.limits.write())
            .map("proxy", proxy)
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "must be an IP address such as 192.0.2.10 or 2001:db8::10")?;
    let is_one_host = match address {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_none(),
    };
    match is_one_host && !address.is_unspecified() && !address.is_multicast() {
        true => Ok(address),
        false => Err("must be the address of one host".into()),
    }
}

/// What stands for a password where others may read along.
pub const MASK: &str = "***";

fn password_part(text: &str) -> Result<String, String> {
    match text == MASK {
        true => Err(
            "is what stands for a password in what was printed: give the password itself".into(),
        ),
        false => login_part(text),
    }
}

fn read_proxy(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Proxy> {
    let mut keys = keys.map(reader, "proxy")?;
    let socks5 = keys.value(reader, "socks5", server);
    let haproxy = keys.value(reader, "haproxy", server);
    let user = keys.value(reader, "user", login_part);
    let password = keys.value(reader, "password", password_part);
    let (line, path) = (keys.line, keys.path(""));
    let path = path.trim_end_matches('.');
    let has_login = (user.is_some(), password.is_some());
    let has_both = keys.has("socks5") && keys.has("haproxy");
    let has_none = !keys.has("socks5") && !keys.has("haproxy");
    if has_both || has_none {
        reader.fault(
            line,
            path,
            "must name one server: socks5: host:port or haproxy: host:port",
        );
    }
    if keys.has("haproxy") && has_login != (false, false) {
        reader.fault(
            line,
            path,
            "haproxy takes no user and password: leave them out",
        );
    }
    if keys.has("socks5") && has_login.0 != has_login.1 {
        reader.fault(line, path, "must have both user and password, or neither");
    }
    keys.finish(reader);
    let login = user.zip(password).map(|(user, password)| Login {
        user: user.value,
        password: password.value,
    });
    match (socks5, haproxy) {
        (Some(server), _) => Some(Proxy::Socks5 {
            server: server.value,
            login,
        }),
        (None, Some(server)) => Some(Proxy::Haproxy {
            server: server.value,
        }),
        (None, None) => None,
    }
}

fn login_part(text: &str) -> Result<String, String> {
    match (1..=LOGIN_BYTES_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(format!("must have 1 to {LOGIN_BYTES_MAX} bytes")),
    }
}

/// `host:port`, with IPv6 addresses in brackets.
fn server(text: &str) -> Result<String, String> {
    let message =
        "must be host:port, such as proxy.example.com:1080, 192.0.2.1:1080 or [2001:db8::1]:1080";
    let (host, port) = text.rsplit_once(':').ok_or(message)?;
    let is_port =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host_name(host).is_ok(),
    };
    match is_host && is_port {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(message.into()),
    }
}

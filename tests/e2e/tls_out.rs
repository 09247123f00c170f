//! What mail demands of TLS with other hosts, and what it does where they do not prove it.

mod dane;
mod requests;
mod shared_hosts;
mod sts;

use skein_testkit::authority::HostCertificate;
use skein_testkit::sink::{Sink, SinkConfig};

use crate::delivery::World;

/// A sink that is a host of this name, and shows this certificate, if it gives TLS at all.
async fn host(world: &World, last: u8, name: &str, certificate: Option<&HostCertificate>) -> Sink {
    host_that(world, last, name, certificate, |_| {}).await
}

async fn host_that(
    world: &World,
    last: u8,
    name: &str,
    certificate: Option<&HostCertificate>,
    change: impl FnOnce(&mut SinkConfig),
) -> Sink {
    let mut config = world.sink_config(last);
    config.hostname = name.to_owned();
    config.extensions.starttls = certificate.is_some();
    config.certificate = certificate.cloned();
    change(&mut config);
    world.dns().host(name, config.address.ip());
    Sink::start(config).await.unwrap()
}

/// Trusts an authority beside those that everybody does.
fn trusting(world: &World, pem: &str) -> String {
    let path = world.folder().join("trusted.pem");
    std::fs::write(&path, pem).unwrap();
    format!("tls_ca = \"{}\"\n", path.display())
}

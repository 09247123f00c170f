//! `[telemetry]`: where traces go, and of which mail there are some.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use skein_client::trace::Sampling;
use skein_policy::MASK;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

/// Of mail whose client says nothing of it: what a busy node can tell of at no cost that is felt.
const SAMPLE_RATIO: f64 = 0.01;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The OpenTelemetry collector that takes OTLP over gRPC, such as `http://otel:4317`. Without it there are no traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// A PEM file with the CA of a collector at `https://`, beside those that are known everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_ca: Option<PathBuf>,
    /// Which part of all messages is traced, from 0 to 1. A message whose `Traceparent` says so is traced or is not.
    pub sample_ratio: f64,
    /// What is sent with each call, such as `authorization = "Bearer ..."`.
    pub otlp_headers: BTreeMap<String, String>,
    /// The part for single tenants, in place of `sample_ratio`.
    pub tenants: BTreeMap<String, f64>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_ca: None,
            sample_ratio: SAMPLE_RATIO,
            otlp_headers: BTreeMap::new(),
            tenants: BTreeMap::new(),
        }
    }
}

impl Telemetry {
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(endpoint) = &self.otlp_endpoint {
            let uri = endpoint.parse::<Uri>().ok();
            let is_good = uri.is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
            });
            ensure!(
                is_good,
                "telemetry.otlp_endpoint: {endpoint:?} names no collector: write http://otel.example.net:4317, or https:// \
                 for TLS"
            );
        }
        let has_tls = self.has_tls();
        ensure!(
            self.otlp_ca.is_none() || has_tls,
            "telemetry.otlp_ca: is of use with an otlp_endpoint at https:// only"
        );
        for (name, value) in &self.otlp_headers {
            MetadataKey::<Ascii>::from_bytes(name.as_bytes())
                .ok()
                .filter(|key| key.as_str() == name)
                .with_context(|| {
                    format!("telemetry.otlp_headers: {name:?} is no name of a header: write lower case, such as authorization")
                })?;
            let is_good = value.parse::<MetadataValue<Ascii>>().is_ok() && value != MASK;
            ensure!(
                is_good,
                "telemetry.otlp_headers: the value of {name} is none: write printable ASCII"
            );
        }
        let is_part = |ratio: f64| (0.0..=1.0).contains(&ratio);
        let ratio = self.sample_ratio;
        ensure!(
            is_part(ratio),
            "telemetry.sample_ratio: {ratio} is no part of all messages: write 0 for none, 0.01 for one in a hundred, 1 for all"
        );
        for (tenant, ratio) in &self.tenants {
            ensure!(
                is_part(*ratio),
                "telemetry.tenants: {ratio} is no part of the messages of {tenant}: write 0 for none, 1 for all"
            );
        }
        Ok(())
    }

    /// Of no mail, without a collector.
    pub fn sampling(&self) -> Sampling {
        match self.otlp_endpoint {
            Some(_) => Sampling::new(self.sample_ratio, &self.tenants),
            None => Sampling::default(),
        }
    }

    pub fn has_tls(&self) -> bool {
        let endpoint = self.otlp_endpoint.as_deref().unwrap_or_default();
        endpoint.starts_with("https://")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (text, words) in [
            (
                "otlp_endpoint = \"otel:4317\"",
                "http://otel.example.net:4317",
            ),
            (
                "otlp_endpoint = \"grpc://otel:4317\"",
                "http://otel.example.net:4317",
            ),
            (
                "otlp_endpoint = \"http://a:1\"\notlp_ca = \"ca.pem\"",
                "https://",
            ),
            ("sample_ratio = 10", "telemetry.sample_ratio: 10"),
            ("tenants.acme = -1", "of acme"),
            ("otlp_headers.Authorization = \"x\"", "lower case"),
            ("otlp_headers.authorization = \"\\n\"", "printable ASCII"),
        ] {
            let telemetry: Telemetry = toml::from_str(text).unwrap();
            let error = telemetry.check().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let good = "otlp_endpoint = \"https://otel:4317\"\notlp_ca = \"ca.pem\"\nsample_ratio = 0.5\n\
                    [otlp_headers]\nauthorization = \"Bearer x\"\n[tenants]\nacme = 1.0\n";
        toml::from_str::<Telemetry>(good).unwrap().check().unwrap();
    }
}

//! Generated gRPC code and its conversions to the model's types.
//!
//! The only crate that knows protobuf.

pub mod backup_file;
pub mod convert;
mod public;
pub mod words;

/// The public API.
#[expect(clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("skein.v1");
}

/// Between the nodes of a cluster, which are of the same or neighbouring versions.
#[expect(clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod internal {
    tonic::include_proto!("skein.internal.v1");
}

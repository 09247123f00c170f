//! Compiles the protocol files with protox, so that no protoc has to be installed.

use std::collections::BTreeSet;

/// What programs ask of the answers beside the words that JSON has.
const NOT_IN_JSON: [&str; 3] = [
    ".skein.v1.Cluster.health",
    ".skein.v1.ExamineResponse.health",
    ".skein.v1.SourceIp.is_behind_proxy",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        "skein/v1/admin.proto",
        "skein/v1/suppressions.proto",
        "skein/internal/v1/backup.proto",
        "skein/internal/v1/peer.proto",
        "skein/internal/v1/spool.proto",
        "skein/internal/v1/sessions.proto",
        "skein/internal/v1/suppressions.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={root}/{file}");
    }
    let descriptors = protox::compile(files, [root])?;
    let mut code = tonic_prost_build::configure()
        .bytes(".")
        .type_attribute(".skein.v1", "#[derive(serde::Serialize)]");
    for path in NOT_IN_JSON {
        code = code.field_attribute(path, "#[serde(skip)]");
    }
    // Enums of answers are words in JSON.
    let public = descriptors.file.iter();
    let public = public.filter(|file| file.package() == "skein.v1");
    let enums = public.clone().flat_map(|file| &file.enum_type);
    let enums: BTreeSet<&str> = enums.map(|kind| kind.name()).collect();
    let messages = public.flat_map(|file| &file.message_type);
    for message in messages.filter(|message| !message.name().ends_with("Request")) {
        for field in &message.field {
            let kind = field.type_name().strip_prefix(".skein.v1.");
            let path = format!(".skein.v1.{}.{}", message.name(), field.name());
            let is_shown = !NOT_IN_JSON.contains(&path.as_str());
            let Some(kind) = kind.filter(|kind| is_shown && enums.contains(kind)) else {
                continue;
            };
            let words = format!("crate::words::serialize::<crate::v1::{kind}, _>");
            code = code.field_attribute(path, format!("#[serde(serialize_with = \"{words}\")]"));
        }
    }
    code.compile_fds(descriptors)?;
    Ok(())
}

//! Compiles the protocol files with protox, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        "skein/v1/admin.proto",
        "skein/internal/v1/backup.proto",
        "skein/internal/v1/peer.proto",
        "skein/internal/v1/spool.proto",
        "skein/internal/v1/sessions.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={root}/{file}");
    }
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure()
        .bytes(".")
        .type_attribute(".skein.v1", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}

//! A node's id: a random number, made on its first start and kept with its data.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use skein_model::NodeId;

const FILE: &str = "node-id";

/// Reads the id of this data directory, or makes one if the directory is new.
///
/// # Errors
/// The directory cannot be read or written, or the file holds something else.
pub fn load_or_create(data_dir: &Path) -> io::Result<NodeId> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => u64::from_str_radix(text.trim(), 16)
            .map(NodeId)
            .map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} holds no node id", path.display()),
                )
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Zero would read as "none" in the admin API.
            let id = rand::random::<u64>().max(1);
            let temporary = data_dir.join("node-id.new");
            let mut file = fs::File::create(&temporary)?;
            writeln!(file, "{id:016x}")?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(data_dir)?.sync_all()?;
            Ok(NodeId(id))
        }
        Err(error) => Err(error),
    }
}

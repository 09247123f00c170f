//! Whether the node may write where it is to.

use std::path::{Path, PathBuf};

use super::{Config, Role};

impl Config {
    /// What is wrong with the places that the node writes to, found by trying: errors, and warnings.
    pub fn check_paths(&self) -> (Vec<String>, Vec<String>) {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        if self.role.controls() {
            errors.extend(tried("data_dir", &self.data_dir));
        }
        let events = self.events.path.as_deref().and_then(Path::parent);
        let events = events.filter(|dir| !dir.as_os_str().is_empty());
        warnings.extend(events.and_then(|dir| tried("events.path", dir)));
        if self.role == Role::Sender {
            let scratch = self.delivery.scratch_dir.as_ref();
            let key = match scratch {
                Some(_) => "delivery.scratch_dir",
                None => "data_dir",
            };
            let dir = scratch
                .cloned()
                .unwrap_or_else(|| self.data_dir.join("scratch"));
            if !dir.as_os_str().is_empty() {
                let found = tried(key, &dir);
                warnings.extend(found.map(|found| {
                    format!(
                        "{found}; mail may be sent twice when this node is killed and started again"
                    )
                }));
            }
        }
        (errors, warnings)
    }
}

/// Makes a file where the directory is or would be, and removes it.
fn tried(key: &str, dir: &Path) -> Option<String> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let nearest = nearest_existing(&dir);
    let file = nearest.join(format!(".skein-check-{}", std::process::id()));
    let made = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&file);
    let error = match made {
        Ok(_) => {
            // What is left is empty, and says by its name where it comes from.
            let _ = std::fs::remove_file(&file);
            return None;
        }
        Err(error) => error,
    };
    let what = match nearest == dir {
        true => "cannot be written to".to_owned(),
        false => format!("cannot be made within {}", nearest.display()),
    };
    let user = rustix::process::geteuid().as_raw();
    Some(format!(
        "{key}: {} {what} by user {user}: {error}; name a directory of the user that runs skein, such as /var/lib/skein",
        dir.display()
    ))
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let mut at = dir.ancestors();
    let found = at.find(|at| at.symlink_metadata().is_ok());
    found.unwrap_or(Path::new("/")).to_owned()
}

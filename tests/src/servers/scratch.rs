//! Folders for one test: data of servers, generated configuration, logs.
//!
//! A folder is removed with its value, unless the test is failing: then it stays, and where it is gets printed.

use std::path::{Path, PathBuf};

/// A folder that goes when its owner goes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty folder. `name` helps a person who looks for it.
    ///
    /// # Panics
    ///
    /// When the temporary folder cannot be written.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("carillon-{name}-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        // Servers that give up root must still find their way in.
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in it.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

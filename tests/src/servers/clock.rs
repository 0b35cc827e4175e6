//! The clock of one process, which can be set while it runs, by libfaketime: what it is told of the time of day, not what it measures.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The places where Debian's machines keep the library.
const LIBRARIES: &str = "/usr/lib";

/// How far one process's clock is from the machine's; it reads that from a file, about once a second.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    ///
    /// When the library is not installed, or the folder cannot be written.
    pub fn new(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let library = library().context("its clock cannot be set: libfaketime is not installed")?;
        let clock = Self { library, file: folder.join(format!("{name}.clock")) };
        clock.is_off_by(0)?;
        Ok(clock)
    }

    /// Sets it to so many seconds after the machine's, or before it.
    ///
    /// # Errors
    ///
    /// When its file cannot be written.
    pub fn is_off_by(&self, seconds: i64) -> anyhow::Result<()> {
        // Whole at any moment: its owner may be reading.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}s\n"))?;
        Ok(std::fs::rename(next, &self.file)?)
    }

    /// What a process is told to go by this clock.
    #[must_use]
    pub fn environment(&self) -> [(String, String); 4] {
        let path = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", path(&self.file)),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir(LIBRARIES).ok()?.flatten().map(|folder| folder.path());
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// Removes what the library leaves behind of a process that was ended without a word.
pub(super) fn forget(process: u32) {
    for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

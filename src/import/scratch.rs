//! A folder of our own for the time of one import, readable by nobody else, gone afterwards.

use std::path::PathBuf;

use crate::platform::ids;

pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("marquee-import-{}", ids::uuid_v4().simple()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(&path)?;
        Ok(Self { path })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a folder of an import could not be removed");
        }
    }
}

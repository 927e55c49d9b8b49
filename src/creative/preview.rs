//! Preview of a marketer's own template in a process that can be killed: `marquee render-preview` reads one JSON document and writes one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::brand::BrandKit;
use super::custom::{CustomTemplate, MAX_OUTPUT, MAX_SOURCE};
use super::email::{MailContext, RenderedEmail};

/// The sub-command's name.
pub const COMMAND: &str = "render-preview";
/// Most bytes the child may answer with: HTML and text, as JSON.
const MAX_ANSWER: usize = 4 * MAX_OUTPUT;
const MAX_REQUEST: usize = 4 * MAX_SOURCE + 256 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub struct PreviewRequest {
    pub mjml: String,
    pub text: String,
    pub brand: BrandKit,
    pub context: MailContext,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewAnswer {
    Rendered(RenderedEmail),
    /// What is wrong with the template, for the marketer.
    Refused(String),
}

#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error("the preview took longer than {0:?} and was stopped")]
    Timeout(Duration),
    #[error("the preview answered with more than {MAX_ANSWER} bytes and was stopped")]
    TooLong,
    #[error("the preview failed: {0}")]
    Failed(String),
}

/// The child's side: renders, and answers in any case.
pub fn render(request: &[u8]) -> PreviewAnswer {
    if request.len() > MAX_REQUEST {
        return PreviewAnswer::Refused(format!("the request is larger than {MAX_REQUEST} bytes"));
    }
    let request: PreviewRequest = match serde_json::from_slice(request) {
        Ok(request) => request,
        Err(error) => return PreviewAnswer::Refused(format!("the request cannot be read: {error}")),
    };
    if let Err(error) = request.brand.check() {
        return PreviewAnswer::Refused(error.to_string());
    }
    match CustomTemplate::compile(&request.mjml, &request.text, &request.brand).and_then(|t| t.render(&request.context)) {
        Ok(mail) => PreviewAnswer::Rendered(mail),
        Err(error) => PreviewAnswer::Refused(error.to_string()),
    }
}

/// The parent's side. `program` is this very binary (`std::env::current_exe`). The child gets no environment and is killed at the timeout.
pub async fn preview(program: &Path, request: &PreviewRequest, timeout: Duration) -> Result<PreviewAnswer, PreviewError> {
    let failed = |e: &dyn std::fmt::Display| PreviewError::Failed(e.to_string());
    let input = serde_json::to_vec(request).map_err(|e| failed(&e))?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(&e))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(PreviewError::Failed("no pipes".into()));
    };
    let work = async {
        let write = async move {
            // A child that stops reading is noticed by its answer.
            let _ = stdin.write_all(&input).await;
            drop(stdin);
        };
        let read = async move {
            let mut answer = Vec::new();
            stdout.take(MAX_ANSWER as u64 + 1).read_to_end(&mut answer).await.map(|_| answer)
        };
        futures::join!(write, read).1
    };
    let answer = tokio::time::timeout(timeout, work).await;
    // Killed in every case: a child that has answered has nothing left to do.
    let _ = child.kill().await;
    let answer = answer.map_err(|_| PreviewError::Timeout(timeout))?.map_err(|e| failed(&e))?;
    if answer.len() > MAX_ANSWER {
        return Err(PreviewError::TooLong);
    }
    serde_json::from_slice(&answer).map_err(|_| PreviewError::Failed("no answer: the process died".into()))
}

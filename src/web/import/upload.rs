//! Taking a file in: piece by piece into the database, with a limit.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};

use crate::fault;
use crate::import::Kind;
use crate::import::desk::{self, MAX_UPLOAD_BYTES, PIECE_BYTES};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::ImportId;
use crate::web::page::Shell;
use crate::web::upload::{Multipart, Piece, content_type};

/// Longest value of a field beside the file.
const MAX_FIELD: usize = 100;

/// A file on its way in.
struct Taking {
    id: ImportId,
    waiting: Vec<u8>,
    seq: i64,
    bytes: i64,
}

impl Taking {
    async fn take(&mut self, platform: &Platform, mut bytes: &[u8]) -> ApiResult<()> {
        self.bytes += bytes.len() as i64;
        if self.bytes > MAX_UPLOAD_BYTES {
            return Err(ApiError::too_large(fault!(
                "upload.split",
                "A file may have {mb} MB. Split it, or pack it with gzip.",
                mb = MAX_UPLOAD_BYTES >> 20
            )));
        }
        while !bytes.is_empty() {
            let room = PIECE_BYTES - self.waiting.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
            if self.waiting.len() == PIECE_BYTES {
                self.put(platform).await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self, platform: &Platform) -> ApiResult<()> {
        if !self.waiting.is_empty() {
            desk::append(&platform.db, self.id, self.seq, &self.waiting).await?;
            self.seq += 1;
            self.waiting.clear();
        }
        Ok(())
    }
}

pub(super) async fn upload(shell: Shell, platform: Data<Platform>, req: HttpRequest, payload: Payload) -> ApiResult {
    let mut form = Multipart::new(content_type(&req), payload)?;
    let by = shell.session()?.user.email.clone();
    let (mut kind, mut taking) = (Kind::People, None::<Taking>);
    let done = read(&mut form, &platform, &by, &mut kind, &mut taking).await;
    let Some(mut taking) = taking else {
        done?;
        return Ok(shell.redirect_saying("/import", "bad", shell.say("import.no_file")));
    };
    let kept = match done {
        Ok(()) if taking.bytes == 0 => Err(None),
        Ok(()) => taking.put(&platform).await.map_err(Some),
        Err(error) => Err(Some(error)),
    };
    match kept {
        Ok(()) => {
            desk::uploaded(&platform.db, taking.id, taking.bytes, platform.now()).await?;
            shell.note(taking.id.to_string(), format!("{}, {} bytes", kind.name(), taking.bytes));
            Ok(shell.redirect(&format!("/import/{}", taking.id)))
        }
        Err(why) => {
            desk::remove(&platform.db, taking.id).await?;
            match why {
                Some(error) => Err(error),
                None => Ok(shell.redirect_saying("/import", "bad", shell.say("import.no_file"))),
            }
        }
    }
}

async fn read(form: &mut Multipart<Payload>, platform: &Platform, by: &str, kind: &mut Kind, taking: &mut Option<Taking>) -> ApiResult<()> {
    let (mut field, mut value) = (String::new(), Vec::new());
    while let Some(piece) = form.next().await? {
        match piece {
            Piece::Part { name, filename } => {
                (field, value) = (name, Vec::new());
                if field == "file" && taking.is_none() {
                    let filename = filename.unwrap_or_default();
                    // Without a choice a browser sends a file without a name.
                    let name = if filename.is_empty() { "–" } else { filename.rsplit(['/', '\\']).next().unwrap_or("–") };
                    let id = desk::begin(&platform.db, *kind, name, by, platform.now()).await?;
                    *taking = Some(Taking { id, waiting: Vec::with_capacity(PIECE_BYTES), seq: 0, bytes: 0 });
                }
            }
            Piece::Bytes(bytes) if field == "file" => {
                if let Some(taking) = taking.as_mut() {
                    taking.take(platform, &bytes).await?;
                }
            }
            Piece::Bytes(bytes) => {
                value.extend_from_slice(&bytes[..bytes.len().min(MAX_FIELD)]);
                value.truncate(MAX_FIELD);
                if field == "kind"
                    && let Some(named) = std::str::from_utf8(&value).ok().and_then(Kind::named)
                {
                    *kind = named;
                }
            }
        }
    }
    Ok(())
}

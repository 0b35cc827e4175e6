//! Receiving bytes through the pod: piece by piece, so that an upload that breaks off goes on where it was.
//!
//! The manner is that of resumable uploads (draft-ietf-httpbis-resumable-upload): `Upload-Offset` says where the body begins,
//! `HEAD` answers how far it is. A piece is one MiB, and each is safe on disk before the next is taken: whatever breaks, at most
//! the last one is sent again, and no more than one is held in memory.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::StreamExt;
use shared::protocol::ErrorCode;

use super::Blobs;
use super::model::FiledAttachment;
use crate::error::Problem;

/// The header that says where a body begins, and in answers how far an upload is.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// The header that says whether an upload is whole.
pub const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// Bytes of one piece.
const PIECE: usize = 1024 * 1024;
/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// How far an upload is, for its uploader.
pub async fn progress(blobs: &Blobs, filed: &FiledAttachment) -> Result<Response, Problem> {
    let offset = blobs.uploaded(filed.shown.id).await?.size;
    Ok((StatusCode::NO_CONTENT, far(offset, filed)).into_response())
}

/// Takes the bytes of `body` from the offset on that `headers` name.
///
/// # Errors
///
/// `conflict`, with `Upload-Offset`, when bytes before it are missing or these are there already; `too_large` when there would
/// be more than were announced; `bad_request` when the body breaks off, and then what came is kept.
pub async fn append(
    blobs: &Blobs,
    filed: &FiledAttachment,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let offset = offset(headers)?;
    let (id, most) = (filed.shown.id, filed.shown.file_size);
    let there = blobs.uploaded(id).await?.size;
    if there != offset {
        let detail = format!("{there} bytes are there and not {offset}: go on from there");
        return Ok((far(there, filed), Problem::new(ErrorCode::Conflict, detail)).into_response());
    }
    if body.size_hint().lower() > most - offset.min(most) {
        return Err(too_large(most));
    }
    let mut intake = Intake { blobs, filed, at: offset, piece: BytesMut::new() };
    let mut bytes = body.into_data_stream();
    loop {
        match tokio::time::timeout(SILENCE, bytes.next()).await {
            Ok(Some(Ok(next))) => intake.take(&next).await?,
            Ok(None) => {
                intake.keep().await?;
                return Ok((StatusCode::NO_CONTENT, far(intake.at, filed)).into_response());
            }
            Ok(Some(Err(_))) | Err(_) => {
                intake.keep().await?;
                return Err(Problem::new(ErrorCode::BadRequest, "the body is incomplete; what came of it is kept"));
            }
        }
    }
}

/// The piece that is coming in.
struct Intake<'a> {
    blobs: &'a Blobs,
    filed: &'a FiledAttachment,
    /// Where it begins.
    at: u64,
    piece: BytesMut,
}

impl Intake<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let most = self.filed.shown.file_size;
        if self.at + (self.piece.len() + bytes.len()) as u64 > most {
            return Err(too_large(most));
        }
        self.piece.extend_from_slice(bytes);
        while self.piece.len() >= PIECE {
            self.keep().await?;
        }
        Ok(())
    }

    /// Writes what there is of the piece, and begins the next one.
    async fn keep(&mut self) -> Result<(), Problem> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split_to(self.piece.len().min(PIECE)).freeze();
        let length = piece.len() as u64;
        self.blobs.append(self.filed.shown.id, self.at, piece).await?;
        self.at += length;
        Ok(())
    }
}

/// Where the body begins: at the first byte, if it is not said.
fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(value) = headers.get(UPLOAD_OFFSET) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Problem::field("Upload-Offset", "must be a number of bytes"))
}

fn far(offset: u64, filed: &FiledAttachment) -> [(HeaderName, HeaderValue); 3] {
    let whole = if offset == filed.shown.file_size { "?1" } else { "?0" };
    [
        (UPLOAD_OFFSET, offset.into()),
        (UPLOAD_COMPLETE, HeaderValue::from_static(whole)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

fn too_large(most: u64) -> Problem {
    Problem::new(ErrorCode::TooLarge, format!("{most} bytes were announced, and no more are taken"))
}

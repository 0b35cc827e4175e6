//! Completing an attachment: what was uploaded is looked at, and only what it was said to be stays.
//!
//! On the line it stands between the upload and the first message that may bring it. What is refused is deleted; the
//! reservation stays, so that the right bytes can be sent.

use sha2::{Digest, Sha256};
use shared::access::Caller;
use shared::ids::AttachmentId;
use shared::protocol::ErrorCode;

use super::model::{AttachmentState, FiledAttachment, Found};
use super::types::{FileType, appearance};
use super::{Blobs, headers, picture};
use crate::error::Problem;
use crate::store::{Store, StoreError};

/// Bytes at the beginning by which a type is recognised.
const HEAD: usize = 8 * 1024;

/// Looks at what `caller` uploaded, and notes that it is complete. Doing it twice is doing it once.
///
/// # Errors
///
/// `conflict` while bytes are missing; `bad_request` or `unsupported` when they are not what was announced, and then they are
/// deleted.
pub async fn complete(
    store: &dyn Store,
    blobs: &Blobs,
    caller: &Caller,
    id: AttachmentId,
) -> Result<FiledAttachment, Problem> {
    let filed = reserved_by(store, caller, id).await?;
    if filed.state != AttachmentState::Reserved {
        return Ok(filed);
    }
    match inspect(blobs, &filed).await {
        Ok(found) => {
            let filed = store.complete_attachment(caller, id, &found).await?;
            blobs.discard_upload(id).await?;
            Ok(filed)
        }
        Err(Refusal::Incomplete { there }) => {
            let expected = filed.shown.file_size;
            let detail = format!("{there} of {expected} bytes are there: upload the rest, then complete it");
            Err(Problem::new(ErrorCode::Conflict, detail))
        }
        Err(Refusal::Wrong(problem)) => {
            blobs.discard(id).await?;
            Err(problem)
        }
        Err(Refusal::Failed(problem)) => Err(problem),
    }
}

/// An attachment that `caller` uploads; anybody else's does not exist.
pub async fn reserved_by(store: &dyn Store, caller: &Caller, id: AttachmentId) -> Result<FiledAttachment, Problem> {
    let filed = store.attachment(Some(caller), id).await?;
    if filed.uploader_id != caller.user || filed.state == AttachmentState::Expired {
        return Err(StoreError::NoAttachment(id).into());
    }
    Ok(filed)
}

/// Why bytes were not taken.
enum Refusal {
    /// There are not enough yet.
    Incomplete { there: u64 },
    /// They are not what was announced.
    Wrong(Problem),
    /// Nobody knows: storage did not answer.
    Failed(Problem),
}

impl<E: Into<Problem>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn inspect(blobs: &Blobs, filed: &FiledAttachment) -> Result<Found, Refusal> {
    let announced = &filed.shown;
    let uploaded = blobs.uploaded(announced.id).await?;
    if uploaded.size < announced.file_size {
        return Err(Refusal::Incomplete { there: uploaded.size });
    }
    if uploaded.size > announced.file_size {
        let detail = format!("{} bytes were uploaded, {} were announced", uploaded.size, announced.file_size);
        return Err(Refusal::Wrong(Problem::new(ErrorCode::TooLarge, detail)));
    }
    // What counts is what was read on the way to its place: a bucket lets clients write again before it.
    let (mut hash, mut head, mut size) = (Sha256::new(), Vec::with_capacity(HEAD), 0_u64);
    let look = |bytes: &[u8]| {
        hash.update(bytes);
        head.extend_from_slice(&bytes[..bytes.len().min(HEAD - head.len())]);
        size += bytes.len() as u64;
    };
    blobs.gather(announced.id, &uploaded, headers::attributes(announced), look).await?;
    if size != announced.file_size {
        return Err(Refusal::Failed(Problem::new(ErrorCode::Conflict, "the upload changed while it was read")));
    }
    let sha256: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if filed.sha256.as_ref().is_some_and(|announced| *announced != sha256) {
        let detail = format!("the bytes have the SHA-256 {sha256}, which is not the one announced");
        return Err(Refusal::Wrong(Problem::field("sha256", detail)));
    }
    let file_type = FileType::named(&announced.file_type).filter(|file_type| file_type.fits(&head));
    let Some(file_type) = file_type else {
        let detail = format!("the bytes look like {} and not like {}", appearance(&head), announced.file_type);
        return Err(Refusal::Wrong(unsupported(detail)));
    };
    if !file_type.is_picture() {
        return Ok(Found { sha256, picture: None });
    }
    let bytes = blobs.content(announced.id, None).await?.bytes().await.map_err(super::BlobError::from)?;
    let picture = picture::look_at(bytes).await.map_err(|error| Refusal::Wrong(unsupported(error.to_string())))?;
    blobs.keep_thumbnail(announced.id, picture.small, headers::thumbnail_attributes()).await?;
    Ok(Found { sha256, picture: Some(picture.dimensions) })
}

fn unsupported(detail: String) -> Problem {
    Problem::new(ErrorCode::Unsupported, detail)
}

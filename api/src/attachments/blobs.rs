//! Where the bytes of attachments lie: a folder that all pods share, or an S3-compatible bucket.
//!
//! Three places: `uploads/<id>/<offset>` takes what comes in, in pieces; `attachments/<id>` is what was found good, and written
//! by pods only; `thumbnails/<id>` are the small pictures. No name that anybody chose is part of a path.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{
    Attributes, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    WriteMultipart,
};
use shared::ids::AttachmentId;
use shared::protocol::ErrorCode;

use super::s3;
use crate::config::AttachmentSettings;
use crate::error::Problem;

/// Bytes of a piece that goes to a bucket at once: S3 takes no smaller ones but the last.
const S3_PIECE: usize = 5 * 1024 * 1024;
/// Bytes of a piece that goes to a folder at once.
const FOLDER_PIECE: usize = 256 * 1024;

/// Why storage did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The setting names no place that can be used.
    #[error("attachments.url names no storage that can be used: {0}")]
    Unfit(String),
    /// There are no such bytes.
    #[error("the bytes are not there")]
    Missing,
    /// Somebody else has written there already.
    #[error("the bytes are there already")]
    Taken,
    /// Storage cannot be reached, or refused.
    #[error("the storage of attachments did not answer")]
    Unavailable(#[source] object_store::Error),
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            object_store::Error::AlreadyExists { .. } => Self::Taken,
            error => Self::Unavailable(error),
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        let code = match &error {
            BlobError::Missing => ErrorCode::NotFound,
            BlobError::Taken => ErrorCode::Conflict,
            BlobError::Unfit(_) | BlobError::Unavailable(_) => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string()).because(error)
    }
}

/// The storage of attachments. Clones are the same storage.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Makes links that lead straight to a bucket, past the pods.
    s3: Option<Arc<dyn Signer>>,
}

/// What has been uploaded of an attachment: pieces that follow each other from the first byte on.
#[derive(Debug, Default)]
pub struct Uploaded {
    /// Where they lie, in order.
    pieces: Vec<Path>,
    /// Bytes of all of them.
    pub size: u64,
}

impl Blobs {
    /// Opens the storage that `settings` names, or `default` where they name none; nothing if neither does.
    ///
    /// # Errors
    ///
    /// When it is a folder that cannot be made, or no storage at all.
    pub fn open(settings: &AttachmentSettings, default: Option<&str>) -> Result<Option<Self>, BlobError> {
        let Some(url) = settings.url.as_ref().map(|url| url.reveal()).or(default) else { return Ok(None) };
        match url.split_once("://") {
            Some(("file", folder)) => Self::in_folder(folder.as_ref()).map(Some),
            Some(("s3", place)) => {
                let store = Arc::new(s3::open(place, settings)?);
                Ok(Some(Self { s3: Some(store.clone()), store }))
            }
            _ => Err(BlobError::Unfit("it is neither file://folder nor s3://bucket".to_owned())),
        }
    }

    /// Storage in a folder, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn in_folder(folder: &std::path::Path) -> Result<Self, BlobError> {
        let unfit = |error: &dyn std::fmt::Display| BlobError::Unfit(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(|error| unfit(&error))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| unfit(&error))?;
        // What was acknowledged must outlive a power cut, as in the databases.
        Ok(Self { store: Arc::new(store.with_fsync(true).with_automatic_cleanup(true)), s3: None })
    }

    /// What has been uploaded so far.
    pub async fn uploaded(&self, id: AttachmentId) -> Result<Uploaded, BlobError> {
        let folder = Path::from(format!("uploads/{id}"));
        let mut pieces: Vec<(u64, u64, Path)> = Vec::new();
        let mut listed = self.store.list(Some(&folder));
        while let Some(piece) = listed.try_next().await? {
            let offset = piece.location.filename().and_then(|name| u64::from_str_radix(name, 16).ok());
            pieces.extend(offset.map(|offset| (offset, piece.size, piece.location)));
        }
        pieces.sort_unstable();
        let mut uploaded = Uploaded::default();
        for (offset, size, piece) in pieces {
            if offset == uploaded.size {
                uploaded.size += size;
                uploaded.pieces.push(piece);
            }
        }
        Ok(uploaded)
    }

    /// Writes the piece that begins at `offset`. Of two who do it at once, one is told [`BlobError::Taken`].
    pub async fn append(&self, id: AttachmentId, offset: u64, piece: Bytes) -> Result<(), BlobError> {
        self.store.put_opts(&upload(id, offset), piece.into(), PutMode::Create.into()).await?;
        Ok(())
    }

    /// Writes what has been uploaded to where it stays, showing `look` every byte of it in order.
    pub async fn gather(
        &self,
        id: AttachmentId,
        uploaded: &Uploaded,
        attributes: Attributes,
        mut look: impl FnMut(&[u8]) + Send,
    ) -> Result<(), BlobError> {
        // A folder keeps no attributes: pods add them to their answers.
        let (attributes, size) = match self.s3 {
            Some(_) => (attributes, S3_PIECE),
            None => (Attributes::default(), FOLDER_PIECE),
        };
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut writer =
            WriteMultipart::new_with_chunk_size(self.store.put_multipart_opts(&content(id), options).await?, size);
        match self.copy(uploaded, &mut writer, &mut look).await {
            Ok(()) => writer.finish().await.map(drop)?,
            Err(error) => {
                let _ = writer.abort().await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn copy(
        &self,
        uploaded: &Uploaded,
        writer: &mut WriteMultipart,
        look: &mut (impl FnMut(&[u8]) + Send),
    ) -> Result<(), BlobError> {
        for piece in &uploaded.pieces {
            let mut bytes = self.store.get(piece).await?.into_stream();
            while let Some(bytes) = bytes.try_next().await? {
                look(&bytes);
                // One on its way while the next is read: memory is bounded by two pieces.
                writer.wait_for_capacity(1).await?;
                writer.put(bytes);
            }
        }
        Ok(())
    }

    /// Reads bytes of an attachment, or only what is to be known of them.
    pub async fn content(&self, id: AttachmentId, range: Option<GetRange>) -> Result<GetResult, BlobError> {
        Ok(self.store.get_opts(&content(id), GetOptions { range, ..GetOptions::default() }).await?)
    }

    /// Reads the small picture of an attachment.
    pub async fn thumbnail(&self, id: AttachmentId) -> Result<Bytes, BlobError> {
        Ok(self.store.get(&thumbnail(id)).await?.bytes().await?)
    }

    /// Keeps the small picture of an attachment.
    pub async fn keep_thumbnail(
        &self,
        id: AttachmentId,
        picture: Bytes,
        attributes: Attributes,
    ) -> Result<(), BlobError> {
        let attributes = if self.s3.is_some() { attributes } else { Attributes::default() };
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.store.put_opts(&thumbnail(id), picture.into(), options).await?;
        Ok(())
    }

    /// Deletes what was uploaded. What is not there is not missed.
    pub async fn discard_upload(&self, id: AttachmentId) -> Result<(), BlobError> {
        let mut listed = self.store.list(Some(&Path::from(format!("uploads/{id}"))));
        while let Some(piece) = listed.try_next().await? {
            self.delete(&piece.location).await?;
        }
        Ok(())
    }

    /// Deletes everything of an attachment. What is not there is not missed.
    pub async fn discard(&self, id: AttachmentId) -> Result<(), BlobError> {
        self.discard_upload(id).await?;
        self.delete(&content(id)).await?;
        self.delete(&thumbnail(id)).await
    }

    /// Deletes pieces that were uploaded before then and never gathered, at most so many, and says how many.
    pub async fn sweep(&self, before: DateTime<Utc>, most: usize) -> Result<usize, BlobError> {
        let (mut listed, mut swept) = (self.store.list(Some(&Path::from("uploads"))), 0);
        while let Some(piece) = listed.try_next().await? {
            if piece.last_modified < before {
                self.delete(&piece.location).await?;
                swept += 1;
            }
            if swept == most {
                break;
            }
        }
        Ok(swept)
    }

    async fn delete(&self, path: &Path) -> Result<(), BlobError> {
        match self.store.delete(path).await.map_err(BlobError::from) {
            Ok(()) | Err(BlobError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A link by which a client uploads straight to a bucket, if the bytes lie in one. The bucket takes nothing without these
    /// `headers`.
    pub async fn upload_link(
        &self,
        id: AttachmentId,
        headers: HeaderMap,
        lasts: Duration,
    ) -> Result<Option<String>, BlobError> {
        let Some(s3) = &self.s3 else { return Ok(None) };
        let mut options = SignedUrlOptions::default();
        options.signed_headers = headers;
        let url = s3.signed_url_opts(Method::PUT, &upload(id, 0), lasts, &options).await?;
        Ok(Some(url.into()))
    }

    /// A link by which a client reads an attachment straight from a bucket, if the bytes lie in one.
    pub async fn content_link(&self, id: AttachmentId, lasts: Duration) -> Result<Option<String>, BlobError> {
        self.link(&content(id), lasts).await
    }

    /// A link by which a client reads a small picture straight from a bucket, if the bytes lie in one.
    pub async fn thumbnail_link(&self, id: AttachmentId, lasts: Duration) -> Result<Option<String>, BlobError> {
        self.link(&thumbnail(id), lasts).await
    }

    async fn link(&self, path: &Path, lasts: Duration) -> Result<Option<String>, BlobError> {
        let Some(s3) = &self.s3 else { return Ok(None) };
        Ok(Some(s3.signed_url(Method::GET, path, lasts).await?.into()))
    }
}

fn upload(id: AttachmentId, offset: u64) -> Path {
    Path::from(format!("uploads/{id}/{offset:016x}"))
}

fn content(id: AttachmentId) -> Path {
    Path::from(format!("attachments/{id}"))
}

fn thumbnail(id: AttachmentId) -> Path {
    Path::from(format!("thumbnails/{id}"))
}

//! Working off jobs: what is kept of people is handed out, or erased.
//!
//! A worker has a job for half a minute at a time, and does it step by step. When it dies, another one takes the job when
//! that time is over: erasing goes on where it was, an export is written anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::ids::AttachmentId;
use tokio_util::sync::CancellationToken;

use super::attachments::collect;
use crate::announce::Announcer;
use crate::attachments::model::{Attachment, AttachmentKind, content_url};
use crate::attachments::{Blobs, headers};
use crate::error::Problem;
use crate::model::{ExportFile, ExportPlace, Job, JobKind, JobState};
use crate::store::Store;

/// Time between two looks when there is nothing to do.
const REST: Duration = Duration::from_secs(1);
/// Bytes of a piece of a file.
const PIECE: usize = 1024 * 1024;

/// What a worker works with.
pub struct Jobs {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Tells the fleet what has changed.
    pub announcer: Announcer,
    /// Where files go, if they go anywhere.
    pub blobs: Option<Blobs>,
}

impl Jobs {
    /// Works off jobs until `stop`. Workers that do it at the same time take different ones.
    pub async fn run(self, stop: CancellationToken) {
        let working = async {
            loop {
                match self.next().await {
                    Ok(true) => {}
                    Ok(false) => tokio::time::sleep(REST).await,
                    Err(error) => {
                        tracing::warn!(?error, "a job is not done: it is taken up again");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        };
        let _ = stop.run_until_cancelled(working).await;
    }

    /// Does the job that waits longest, to its end. False if none waits.
    ///
    /// # Errors
    ///
    /// When the store or the storage does not answer; the job is taken up again half a minute later.
    pub async fn next(&self) -> Result<bool, Problem> {
        let Some(job) = self.store.claim_job().await? else { return Ok(false) };
        match job.kind {
            JobKind::Erase => self.erase(&job).await?,
            JobKind::Export => self.export(&job).await?,
        }
        tracing::info!(job = %job.id, kind = ?job.kind, "a job is done");
        metrics::counter!("carillon_jobs_total", "kind" => job.kind.as_str()).increment(1);
        Ok(true)
    }

    async fn erase(&self, job: &Job) -> Result<(), Problem> {
        loop {
            let step = self.store.erase_next(job.id).await?;
            self.announcer.offer(&step.envelopes);
            if step.value.state == JobState::Done {
                break;
            }
        }
        if let Some(blobs) = &self.blobs {
            collect(&*self.store, blobs).await?;
        }
        Ok(())
    }

    async fn export(&self, job: &Job) -> Result<(), Problem> {
        let blobs = self.blobs.as_ref().ok_or_else(|| Problem::internal("exports need a storage for attachments"))?;
        let id = AttachmentId(job.id.0);
        // What a worker before this one has left.
        blobs.discard(id).await?;
        let (mut piece, mut size, mut looked) = (Vec::new(), 0, 0);
        let mut from = Some(ExportPlace::default());
        while let Some(place) = from {
            let page = self.store.export_page(&job.user_id, &place).await?;
            for line in page.lines {
                serde_json::to_writer(&mut piece, &line).map_err(Problem::internal)?;
                piece.push(b'\n');
            }
            from = page.next;
            looked += match from {
                Some(next) if next.conversation == place.conversation => next.seq.0 - place.seq.0,
                _ => 0,
            };
            if piece.len() >= PIECE || from.is_none() {
                let bytes = Bytes::from(std::mem::take(&mut piece));
                let offset = size;
                size += bytes.len() as u64;
                blobs.append(id, offset, bytes).await?;
            }
            self.store.keep_job(job.id, looked).await?;
        }
        let attachment = Attachment {
            id,
            file_name: format!("{}.jsonl", job.user_id),
            file_type: "application/x-ndjson".to_owned(),
            file_size: size,
            kind: AttachmentKind::File,
            url: content_url(id),
            thumbnail_url: None,
            width: None,
            height: None,
            duration_ms: None,
            waveform: None,
        };
        let mut sum = Sha256::new();
        let uploaded = blobs.uploaded(id).await?;
        blobs.gather(id, &uploaded, headers::attributes(&attachment), |bytes| sum.update(bytes)).await?;
        let sha256 = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.store.finish_export(job.id, &ExportFile { attachment, sha256 }).await?;
        blobs.discard_upload(id).await?;
        Ok(())
    }
}

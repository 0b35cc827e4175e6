//! The storage of attachments, opened.

use anyhow::Context;
use api::attachments::Blobs;
use api::state::Attachments;

use crate::settings::Settings;

/// Opens the storage of attachments, where there is one.
pub fn open(settings: &Settings) -> anyhow::Result<Option<Attachments>> {
    let blobs = Blobs::open(&settings.attachments, settings.own_attachments());
    let blobs = blobs.context("attachments cannot be kept: set attachments.url to another place")?;
    let max_bytes = settings.attachments.max_bytes.bytes() as u64;
    Ok(blobs.map(|blobs| Attachments { blobs, max_bytes }))
}

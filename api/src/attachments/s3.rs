//! From the settings to a bucket of Amazon S3 or of a server that speaks the same.

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use super::BlobError;
use crate::config::AttachmentSettings;

/// Names the bucket at `place`, `bucket` or `bucket/prefix`. It is reached when first used.
pub(super) fn open(place: &str, settings: &AttachmentSettings) -> Result<PrefixStore<AmazonS3>, BlobError> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region(&settings.s3_region);
    if let Some(endpoint) = &settings.s3_endpoint {
        // Servers other than Amazon's rarely have a host name for each bucket.
        builder = builder
            .with_endpoint(endpoint.reveal())
            .with_allow_http(endpoint.scheme() == "http")
            .with_virtual_hosted_style_request(false);
    }
    if let (Some(id), Some(secret)) = (&settings.s3_access_key_id, &settings.s3_secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
    }
    let bucket = builder.build().map_err(|error| BlobError::Unfit(error.to_string()))?;
    Ok(PrefixStore::new(bucket, Path::from(prefix)))
}

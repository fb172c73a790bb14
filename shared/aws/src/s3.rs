//! Files in S3.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, Object, ObjectIdentifier, Part,
};
use shared::ports::files::{FileError, FileName, FilePage, StoredFile, Upload};
use shared::values::time::Timestamp;

use crate::clients::patient;

/// One try of one upload: a file of many megabytes takes its time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// All tries of one call: of a file, or of one part of it. The job's own timeout ends it before, if that is shorter.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(50);

/// The most keys that S3 lists, or deletes, in one call.
const MOST_KEYS: usize = 1000;

/// A bucket, or the part of one below a prefix.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    name: String,
    prefix: String,
}

impl Bucket {
    /// The bucket `name`; keys start with `prefix` and a slash unless it is empty.
    pub fn new(config: &SdkConfig, name: String, prefix: String) -> Self {
        // A stand-in on one address has no bucket.host names.
        let path_style = config.endpoint_url().is_some();
        let timeouts = patient(ATTEMPT_TIMEOUT, OPERATION_TIMEOUT);
        let config = aws_sdk_s3::config::Builder::from(config).timeout_config(timeouts);
        let config = config.force_path_style(path_style).build();
        Self { client: Client::from_conf(config), name, prefix }
    }

    /// Writes a file unless there is one of this name already. Gives its address, `s3://bucket/key`, in both cases.
    pub async fn create(&self, file_name: &str, content: Vec<u8>, content_type: &str) -> Result<String, FileError> {
        let put = self.client.put_object().bucket(&self.name).key(self.key(file_name)).if_none_match("*");
        let written = put.content_type(content_type).body(content.into()).send().await;
        match written {
            Ok(_) => Ok(self.address(file_name)),
            Err(error) if is_there_already(&error) => Ok(self.address(file_name)),
            Err(error) => Err(FileError::not_now(error)),
        }
    }

    /// What is in a file; `None` if there is no such file. One that is larger than `at_most` bytes is not read.
    pub async fn read(&self, file_name: &str, at_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        let got = self.client.get_object().bucket(&self.name).key(self.key(file_name)).send().await;
        let object = match got {
            Ok(object) => object,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(FileError::not_now(error)),
        };
        let bytes = object.content_length().and_then(|length| u64::try_from(length).ok());
        if bytes.is_none_or(|bytes| bytes > at_most) {
            return Err(FileError::TooLarge(at_most));
        }
        let content = object.body.collect().await.map_err(FileError::not_now)?;
        Ok(Some(content.to_vec()))
    }

    /// The files whose name starts with `start` and comes after `after`, by their names, `limit` at most. Objects whose
    /// key is not a [`FileName`] below the prefix are passed over.
    pub async fn list(&self, start: &str, after: Option<&str>, limit: usize) -> Result<FilePage, FileError> {
        let limit = i32::try_from(limit.min(MOST_KEYS)).unwrap_or(i32::MAX);
        let list = self.client.list_objects_v2().bucket(&self.name).prefix(self.key(start)).max_keys(limit);
        let listed = list.set_start_after(after.map(|after| self.key(after))).send().await;
        let listed = listed.map_err(FileError::not_now)?;
        let last = listed.contents().last().and_then(|object| self.name_in(object));
        Ok(FilePage {
            files: listed.contents().iter().filter_map(|object| self.stored_file(object)).collect(),
            next: if listed.is_truncated() == Some(true) { last.map(str::to_owned) } else { None },
        })
    }

    /// Deletes these files; those that are not there are none to delete.
    pub async fn delete(&self, names: &[FileName]) -> Result<(), FileError> {
        for names in names.chunks(MOST_KEYS) {
            let keys = names.iter().map(|name| ObjectIdentifier::builder().key(self.key(name.as_str())).build());
            let keys = keys.collect::<Result<Vec<_>, _>>().map_err(FileError::not_now)?;
            let these = Delete::builder().set_objects(Some(keys)).quiet(true).build().map_err(FileError::not_now)?;
            let deleted = self.client.delete_objects().bucket(&self.name).delete(these).send().await;
            let deleted = deleted.map_err(FileError::not_now)?;
            if let Some(error) = deleted.errors().first() {
                return Err(FileError::not_now(error.code().unwrap_or("an object was not deleted")));
            }
        }
        Ok(())
    }

    /// Begins a file in parts. Nothing of it is to be seen before it is finished; what is never finished is removed by
    /// the bucket's lifecycle rule, if it has one.
    pub async fn begin(&self, name: FileName, content_type: &str) -> Result<Upload, FileError> {
        let begin = self.client.create_multipart_upload().bucket(&self.name).key(self.key(name.as_str()));
        let begin = begin.content_type(content_type).checksum_algorithm(ChecksumAlgorithm::Crc32);
        let begun = begin.send().await.map_err(FileError::not_now)?;
        let id = begun.upload_id.ok_or_else(|| FileError::not_now("S3 gave the upload no id"))?;
        Ok(Upload { name, id })
    }

    /// Writes a part of the file, from 1, in place of any that it has under this number.
    pub async fn append(&self, upload: &Upload, number: u32, content: Vec<u8>) -> Result<(), FileError> {
        let part = self.client.upload_part().bucket(&self.name).key(self.key(upload.name.as_str()));
        let part = part.upload_id(&upload.id).part_number(i32::try_from(number).unwrap_or(i32::MAX));
        let part = part.checksum_algorithm(ChecksumAlgorithm::Crc32).body(content.into());
        match part.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Err(FileError::Gone),
            Err(error) => Err(FileError::not_now(error)),
        }
    }

    /// Makes a file of its first `parts` parts, unless there is one of its name already. Gives its address in both
    /// cases. May be called again, also after it succeeded.
    pub async fn finish(&self, upload: &Upload, parts: u32) -> Result<String, FileError> {
        let Some(parts) = self.parts(upload, parts).await? else { return self.address_if_there(upload).await };
        let finish = self.client.complete_multipart_upload().bucket(&self.name).key(self.key(upload.name.as_str()));
        let finish = finish.upload_id(&upload.id).if_none_match("*");
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        match finish.multipart_upload(parts).send().await {
            Ok(_) => Ok(self.address(upload.name.as_str())),
            Err(error) if is_there_already(&error) => {
                self.abandon(upload).await;
                Ok(self.address(upload.name.as_str()))
            }
            Err(error) if is_gone(&error) => self.address_if_there(upload).await,
            Err(error) if error.code() == Some("EntityTooSmall") => Err(FileError::PartTooSmall),
            Err(error) => Err(FileError::not_now(error)),
        }
    }

    /// The first `wanted` parts as S3 has them; `None` if there is no such upload, or not all of them.
    async fn parts(&self, upload: &Upload, wanted: u32) -> Result<Option<Vec<CompletedPart>>, FileError> {
        let list = self.client.list_parts().bucket(&self.name).key(self.key(upload.name.as_str()));
        let mut pages = list.upload_id(&upload.id).into_paginator().send();
        let mut parts = vec![];
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => parts.extend(page.parts().iter().map(completed)),
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => return Err(FileError::not_now(error)),
            }
        }
        parts.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        let whole = parts.last().and_then(CompletedPart::part_number) == i32::try_from(wanted).ok();
        Ok((whole && parts.len() == usize::try_from(wanted).unwrap_or(usize::MAX)).then_some(parts))
    }

    /// The address of a file whose upload is over, if that has made it.
    async fn address_if_there(&self, upload: &Upload) -> Result<String, FileError> {
        match self.client.head_object().bucket(&self.name).key(self.key(upload.name.as_str())).send().await {
            Ok(_) => Ok(self.address(upload.name.as_str())),
            Err(error) if status(&error) == Some(404) => Err(FileError::Gone),
            Err(error) => Err(FileError::not_now(error)),
        }
    }

    /// Drops an upload that nobody needs. If that fails, the bucket's lifecycle rule does it later.
    async fn abandon(&self, upload: &Upload) {
        let abort = self.client.abort_multipart_upload().bucket(&self.name).key(self.key(upload.name.as_str()));
        if let Err(error) = abort.upload_id(&upload.id).send().await {
            tracing::debug!(error = error.code().unwrap_or("no answer"), "upload.not_aborted");
        }
    }

    fn key(&self, file_name: &str) -> String {
        if self.prefix.is_empty() { file_name.to_owned() } else { format!("{}/{file_name}", self.prefix) }
    }

    fn address(&self, file_name: &str) -> String {
        format!("s3://{}/{}", self.name, self.key(file_name))
    }

    /// The object's name below the prefix.
    fn name_in<'a>(&self, object: &'a Object) -> Option<&'a str> {
        object.key()?.strip_prefix(self.key("").as_str())
    }

    fn stored_file(&self, object: &Object) -> Option<StoredFile> {
        Some(StoredFile {
            name: FileName::parse(self.name_in(object)?)?,
            bytes: u64::try_from(object.size()?).ok()?,
            modified: Timestamp::from_millis(object.last_modified()?.to_millis().ok()?),
        })
    }
}

/// A part as it is named when the file is made of it.
fn completed(part: &Part) -> CompletedPart {
    CompletedPart::builder()
        .set_part_number(part.part_number())
        .set_e_tag(part.e_tag().map(str::to_owned))
        .set_checksum_crc32(part.checksum_crc32().map(str::to_owned))
        .build()
}

fn is_there_already<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("PreconditionFailed") || status(error) == Some(412)
}

/// The upload has ended, or was removed.
fn is_gone<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("NoSuchUpload")
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

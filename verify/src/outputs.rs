//! A place for files as far as the jobs of these checks use it: they only create some.

use std::sync::Arc;

use async_trait::async_trait;
use shared::ports::files::{FileError, FileName, FilePage, Upload};
use worker::{JobError, Outputs};

/// Where files are created.
#[async_trait]
pub trait Creates: Send + Sync {
    /// See [`Outputs::create`].
    async fn create(&self, file_name: &str, content: Vec<u8>) -> Result<String, JobError>;
}

/// Such a place, for the tools of a worker.
pub struct OnlyCreates<C>(pub Arc<C>);

impl<C> OnlyCreates<C> {
    fn nothing_else<T>() -> Result<T, FileError> {
        Err(FileError::NotNow("no job of these checks asks for that".into()))
    }
}

#[async_trait]
impl<C: Creates> Outputs for OnlyCreates<C> {
    async fn create(&self, file_name: &str, content: Vec<u8>, _: &str) -> Result<String, JobError> {
        self.0.create(file_name, content).await
    }

    async fn read(&self, _: &FileName, _: u64) -> Result<Option<Vec<u8>>, FileError> {
        Self::nothing_else()
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<FilePage, FileError> {
        Self::nothing_else()
    }

    async fn delete(&self, _: &[FileName]) -> Result<(), FileError> {
        Self::nothing_else()
    }

    async fn begin(&self, _: &FileName, _: &str) -> Result<Upload, FileError> {
        Self::nothing_else()
    }

    async fn append(&self, _: &Upload, _: u32, _: Vec<u8>) -> Result<(), FileError> {
        Self::nothing_else()
    }

    async fn finish(&self, _: &Upload, _: u32) -> Result<String, FileError> {
        Self::nothing_else()
    }
}

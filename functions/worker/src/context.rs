//! What a running job can see and use.

use std::sync::Arc;

use anyhow::Context as _;
use shared::id::JobId;
use shared::time::Timestamp;
use shared_aws::clients::SdkConfig;
use shared_aws::settings::{Lookup, WorkerSettings};

use crate::mail::Mailer;
use crate::output::{Outputs, outputs_at};

/// One attempt of one job.
pub struct Context {
    /// The job's id: the same in every attempt. Name by it what the job makes, and a second attempt makes it once.
    pub job_id: JobId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the job was accepted: the same in every attempt.
    pub created_at: Timestamp,
    /// What this deployment offers to jobs.
    pub tools: Arc<Tools>,
}

/// What a deployment offers to its jobs.
pub struct Tools {
    /// Where files go.
    pub outputs: Arc<dyn Outputs>,
    /// Where e-mail goes.
    pub mailer: Mailer,
    /// Whether CSV cells that a spreadsheet would run are disarmed.
    pub csv_formula_guard: bool,
}

impl Tools {
    /// Those that `settings` describe. In debug builds, `lookup` may ask for kill points around them.
    pub fn new(settings: &WorkerSettings, config: &SdkConfig, lookup: Lookup<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            outputs: outputs_at(settings.output.clone(), config, lookup),
            mailer: Mailer::new(&settings.mail, &settings.mail_from, config).context("failed to set up e-mail")?,
            csv_formula_guard: settings.csv_formula_guard,
        })
    }
}

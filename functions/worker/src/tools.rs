//! What a deployment offers to its jobs.

use std::sync::Arc;

use anyhow::Context as _;
use shared::ports::{Clock, JobStore};
use shared::product::Products;
use shared::values::standard_webhooks::WebhookSecret;
use shared_aws::clients::SdkConfig;
use shared_aws::settings::{Lookup, Secret, WorkerSettings};

use crate::mail::Mailer;
use crate::outbound::Outbound;
use crate::output::{Outputs, outputs_at};
use crate::push_notification::PushGateway;

/// What a deployment offers to its jobs.
pub struct Tools {
    /// Where files go, those of all tenants. A job has its own part of it, [`crate::Context::outputs`].
    pub outputs: Arc<dyn Outputs>,
    /// Where e-mail goes.
    pub mailer: Mailer,
    /// Whether CSV cells that a spreadsheet would run are disarmed.
    pub csv_formula_guard: bool,
    /// The way to call others.
    pub outbound: Outbound,
    /// What webhooks are signed with, if there are any.
    pub webhook_secret: Option<WebhookSecret>,
    /// Who brings push notifications to devices, if somebody does.
    pub push_gateway: Option<PushGateway>,
    /// What is on record.
    pub records: Records,
}

/// What is on record, for the job types that are about it.
#[derive(Clone)]
pub struct Records {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// The products.
    pub products: Arc<dyn Products>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Tools {
    /// Those that `settings` describe. In debug builds, `lookup` may ask for kill points around them.
    pub fn new(
        settings: &WorkerSettings,
        config: &SdkConfig,
        lookup: Lookup<'_>,
        records: Records,
    ) -> anyhow::Result<Self> {
        let push_gateway = settings.push_gateway_url.clone();
        let token = settings.push_gateway_token.as_ref().map(Secret::expose);
        Ok(Self {
            outputs: outputs_at(settings.output.clone(), config, lookup),
            mailer: Mailer::new(&settings.mail, settings.mail_from.clone(), config)
                .context("failed to set up e-mail")?,
            csv_formula_guard: settings.csv_formula_guard,
            outbound: Outbound::new(settings.outbound.into()),
            webhook_secret: settings.webhook_secret.clone(),
            push_gateway: push_gateway.map(|url| PushGateway::new(url, token)),
            records,
        })
    }
}

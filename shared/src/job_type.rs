//! The list of job types.

use strum::VariantArray;

use crate::job::TypeName;
use crate::payloads::csv_generation::CsvGeneration;
use crate::payloads::email_send::EmailSend;
use crate::payloads::file_cleanup::FileCleanup;
use crate::payloads::image_thumbnail::ImageThumbnail;
use crate::payloads::product_processing::ProductProcessing;
use crate::payloads::push_notification::PushNotification;
#[cfg(feature = "rehearsal")]
use crate::payloads::rehearsal::Rehearsal;
use crate::payloads::report_generation::ReportGeneration;
use crate::payloads::webhook_delivery::WebhookDelivery;
use crate::values::invalid::InvalidField;

/// The kinds of work that Dray knows. Each has its payload in [`crate::payloads`] and its code in the worker.
///
/// To add one: write its payload, add a variant here, and follow the compiler, which asks for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray)]
pub enum JobType {
    /// Turns JSON into a CSV file.
    CsvGeneration,
    /// Sends an e-mail.
    EmailSend,
    /// Removes the files of long ago.
    FileCleanup,
    /// Makes a smaller picture of a picture.
    ImageThumbnail,
    /// Does what is to be done once about a product.
    ProductProcessing,
    /// Hands a notification to the push gateway.
    PushNotification,
    /// Says how the jobs of a time went.
    ReportGeneration,
    /// Posts an event to a receiver.
    WebhookDelivery,
    /// Does as it is told: fails, hangs, panics. Only with the feature `rehearsal`, to try things out and to test.
    #[cfg(feature = "rehearsal")]
    Rehearsal,
}

impl JobType {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// What is known of the type before any job of it runs.
    pub fn policy(self) -> Policy {
        match self {
            Self::CsvGeneration => Policy::of::<CsvGeneration>(),
            Self::EmailSend => Policy::of::<EmailSend>(),
            Self::FileCleanup => Policy::of::<FileCleanup>(),
            Self::ImageThumbnail => Policy::of::<ImageThumbnail>(),
            Self::ProductProcessing => Policy::of::<ProductProcessing>(),
            Self::PushNotification => Policy::of::<PushNotification>(),
            Self::ReportGeneration => Policy::of::<ReportGeneration>(),
            Self::WebhookDelivery => Policy::of::<WebhookDelivery>(),
            #[cfg(feature = "rehearsal")]
            Self::Rehearsal => Policy::of::<Rehearsal>(),
        }
    }

    /// The type of this name, or of this older name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|job_type| {
            let policy = job_type.policy();
            policy.name == name || policy.aliases.contains(&name)
        })
    }

    /// What is wrong with a `field` that names no type.
    pub fn unknown(field: &str) -> InvalidField {
        let known: Vec<_> = Self::ALL.iter().map(|known| known.policy().name).collect();
        InvalidField::new(field, format!("is not a known job type; known are {}", known.join(", ")))
    }

    /// Whether what is deployed has it.
    pub fn is_deployed(self) -> bool {
        match self {
            Self::CsvGeneration
            | Self::EmailSend
            | Self::FileCleanup
            | Self::ImageThumbnail
            | Self::ProductProcessing
            | Self::PushNotification
            | Self::ReportGeneration
            | Self::WebhookDelivery => true,
            #[cfg(feature = "rehearsal")]
            Self::Rehearsal => false,
        }
    }

    /// Its name, as stored.
    pub fn name(self) -> TypeName {
        TypeName::new(self.policy().name)
    }
}

/// The payload of a job type: what a job of it needs to know.
pub trait Payload: Sized {
    /// The type's name in the API, the table and the logs.
    const NAME: &'static str;
    /// Other names that the API takes for it.
    const ALIASES: &'static [&'static str] = &[];
    /// How many attempts a job of this type has unless it says otherwise, at most
    /// [`crate::job::submission::MOST_ATTEMPTS`].
    const MAX_ATTEMPTS: u32 = 3;
    /// How long an attempt may run, in seconds, unless the job says otherwise, at most
    /// [`crate::job::submission::LONGEST_TIMEOUT_SECONDS`], and at most what the deployment allows: see
    /// [`crate::job::submission::Limits`].
    const TIMEOUT_SECONDS: u32 = 30;
    /// What a payload looks like, as a JSON Schema (2020-12) for the API's document.
    const SCHEMA: &'static str;
    /// A payload that fits, as JSON.
    const EXAMPLE: &'static str;

    /// Reads and checks a payload, given as JSON text. Called when a job is accepted, so that what cannot work is
    /// refused at once, and again when it runs.
    fn parse(json: &str) -> Result<Self, InvalidField>;
}

/// What a job type has laid down in its [`Payload`].
#[derive(Clone, Copy)]
pub struct Policy {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Attempts unless the job says otherwise.
    pub max_attempts: u32,
    /// Seconds an attempt may run unless the job says otherwise.
    pub timeout_seconds: u32,
    /// The JSON Schema of its payload.
    pub schema: &'static str,
    /// A payload that fits.
    pub example: &'static str,
    /// Whether a payload fits.
    pub check: fn(&str) -> Result<(), InvalidField>,
}

impl Policy {
    fn of<P: Payload>() -> Self {
        Self {
            name: P::NAME,
            aliases: P::ALIASES,
            max_attempts: P::MAX_ATTEMPTS,
            timeout_seconds: P::TIMEOUT_SECONDS,
            schema: P::SCHEMA,
            example: P::EXAMPLE,
            check: |json| P::parse(json).map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::submission::{LONGEST_TIMEOUT_SECONDS, MOST_ATTEMPTS};

    #[test]
    fn every_type_is_found_by_its_names_and_no_name_is_taken_twice() {
        let mut names = std::collections::HashSet::new();
        for job_type in JobType::ALL {
            let policy = job_type.policy();
            for name in std::iter::once(&policy.name).chain(policy.aliases) {
                assert_eq!(JobType::named(name), Some(*job_type));
                assert!(names.insert(*name), "{name} is taken twice");
            }
            assert_eq!((policy.check)(policy.example), Ok(()), "{}: its example fits", policy.name);
            let schema: serde_json::Value = serde_json::from_str(policy.schema).expect("JSON");
            assert!(schema["description"].is_string(), "{}: its schema says what it is", policy.name);
            assert!((1..=MOST_ATTEMPTS).contains(&policy.max_attempts), "{}", policy.name);
            assert!((1..=LONGEST_TIMEOUT_SECONDS).contains(&policy.timeout_seconds), "{}", policy.name);
        }
        assert_eq!(JobType::named("EMAIL_SEND"), Some(JobType::EmailSend));
        assert_eq!(JobType::named("Email-Send"), None);
    }

    #[test]
    fn all_types_are_deployed_but_the_rehearsal() {
        let not_deployed = JobType::ALL.iter().filter(|job_type| !job_type.is_deployed());
        let names: Vec<_> = not_deployed.map(|job_type| job_type.policy().name).collect();
        let expected: &[&str] = if cfg!(feature = "rehearsal") { &["rehearsal"] } else { &[] };
        assert_eq!(names, expected);
    }
}

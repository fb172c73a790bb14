//! What the table's stream says of a job.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_dynamo::{AttributeValue, from_item, to_item};
use shared::job::changes::JobChange;
use shared::job::event::Event;
use shared::job::{Job, TypeName};
use shared::ports::{Source, StoreError};
use shared::values::id::{JobId, Tenant};

use super::item::Item;

/// What the item after a change is read for. Everything else in it may be as it likes.
#[derive(Deserialize)]
struct After {
    tenant: Tenant,
    #[serde(rename = "type")]
    job_type: TypeName,
    correlation_id: String,
    #[serde(default)]
    callback_url: Option<String>,
    history: Vec<Event>,
}

/// What the item before a change is read for.
#[derive(Deserialize)]
struct Before {
    history: Vec<IgnoredAny>,
}

/// Reads one change of one item: the images of it before and after, as the stream gives them, in the JSON that DynamoDB
/// writes (`{"id":{"S":"…"},…}`). `None` if the item is not a job.
pub fn read_change(before: Option<&str>, after: &str) -> Result<Option<JobChange>, StoreError> {
    let after: serde_dynamo::Item = serde_json::from_str(after).map_err(|error| unreadable("?", error))?;
    let Some(AttributeValue::S(id)) = after.get("id").cloned() else { return Ok(None) };
    let Ok(job_id) = id.parse::<JobId>() else { return Ok(None) };
    let known = match before {
        None => 0,
        Some(before) => {
            let before: serde_dynamo::Item = serde_json::from_str(before).map_err(|error| unreadable(&id, error))?;
            let before: Before = from_item(before).map_err(|error| unreadable(&id, error))?;
            before.history.len()
        }
    };
    let after: After = from_item(after).map_err(|error| unreadable(&id, error))?;
    let After { tenant, job_type, correlation_id, callback_url, history } = after;
    Ok(Some(JobChange { job_id, tenant, job_type, correlation_id, callback_url, known, history }))
}

fn unreadable(id: &str, error: impl Into<Source>) -> StoreError {
    StoreError::Unreadable(id.to_owned(), error.into())
}

/// The image of a job as the stream gives it: for tests, which play the stream.
pub fn image_of(job: &Job) -> Result<String, StoreError> {
    let item: serde_dynamo::Item = to_item(Item::from(job)).map_err(|error| StoreError::Refused(error.into()))?;
    serde_json::to_string(&item).map_err(|error| StoreError::Refused(error.into()))
}

#[cfg(test)]
mod tests {
    use shared::job::submission::{Origin, Submission};
    use shared::job::transition::{Change, transition};
    use shared::job_type::JobType;
    use shared::values::json::Json;
    use shared::values::time::Timestamp;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn accepted() -> Job {
        let submission = Submission::plain(JobType::CsvGeneration, Json::parse(r#"{"a":1}"#).expect("JSON"));
        let origin = Origin { correlation_id: "request".to_owned(), traceparent: None };
        submission.into_job(JobId::at(START, [1; 10]), Tenant::only(), START, origin)
    }

    #[test]
    fn what_is_new_in_a_change_is_read_from_its_images() {
        let accepted = accepted();
        let cancelled = transition(&accepted, &Change::CancelPending { now: START }).expect("allowed");
        let (first, second) = (image_of(&accepted).expect("writes"), image_of(&cancelled).expect("writes"));
        let inserted = read_change(None, &first).expect("reads").expect("a job");
        assert_eq!((inserted.known, &inserted.history), (0, &accepted.history));
        let modified = read_change(Some(&first), &second).expect("reads").expect("a job");
        assert_eq!((modified.known, &modified.history), (1, &cancelled.history));
        assert_eq!((modified.job_id, modified.correlation_id.as_str()), (accepted.id, "request"));
    }

    #[test]
    fn what_is_not_a_job_is_told_from_a_job_that_cannot_be_read() {
        for other in [r#"{"id":{"S":"switch"}}"#, r#"{"id":{"S":"counters##total#0"}}"#, r#"{"name":{"S":"x"}}"#] {
            assert_eq!(read_change(None, other).expect("reads"), None, "{other}");
        }
        let broken = r#"{"id":{"S":"01938e5c-7a00-7000-8000-000000000000"},"history":{"S":"?"}}"#;
        assert!(matches!(read_change(None, broken), Err(StoreError::Unreadable(id, _)) if id.starts_with("01938e5c")));
        assert!(read_change(None, "{").is_err());
    }
}

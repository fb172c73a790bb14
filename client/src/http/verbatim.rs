//! What an answer means, together with its own words.

use std::ops::Deref;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A value, and the JSON text that it was read from: with the fields that this version does not know, and with every
/// number and time as the service wrote it. It can be used as the value, and serialises as the text.
#[derive(Clone, Debug)]
pub struct Verbatim<T> {
    value: T,
    json: Box<RawValue>,
}

impl<T> Verbatim<T> {
    /// The service's own words.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    /// The value alone.
    pub fn into_value(self) -> T {
        self.value
    }

    /// The same words, understood otherwise.
    pub(crate) fn map<U>(self, read: impl FnOnce(T) -> U) -> Verbatim<U> {
        Verbatim { value: read(self.value), json: self.json }
    }
}

impl<T> Deref for Verbatim<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Serialize for Verbatim<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Verbatim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let value = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { value, json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobSummary, Page};

    #[test]
    fn words_times_and_unknown_fields_stay_as_the_service_wrote_them() {
        let job = r#"{"type":"t","job_id":"01938e5c-7a00-7000-8000-000000000000","status":"paused", "mood":1.50,
            "created_at":"2026-11-22T02:05:08.030Z","updated_at":"2026-11-22T02:05:08.000Z"}"#;
        let read: Verbatim<JobSummary> = serde_json::from_str(&format!(" {job}\n")).expect("a job");
        assert_eq!((read.json(), read.job_type.as_str()), (job, "t"));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), job);
        let page = format!(r#"{{"jobs":[{job},{job}],"next_cursor":null,"hint":"new"}}"#);
        let page: Verbatim<Page> = serde_json::from_str(&page).expect("a page");
        assert_eq!(serde_json::to_string(&page.jobs).expect("JSON"), format!("[{job},{job}]"));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = serde_json::from_str::<Verbatim<JobSummary>>(r#"{"job_id":1}"#).expect_err("no job");
        assert!(error.to_string().contains("job_id") || error.to_string().contains("UUID"), "{error}");
    }
}

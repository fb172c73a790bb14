//! Who a job is, who owns it, and who holds it.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::values::time::Timestamp;

/// A job's id, a UUID. Text form: 36 lower-case characters with hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Uuid);

impl JobId {
    /// A fresh id that sorts by time: UUID version 7 (RFC 9562) of `now` and ten random bytes.
    pub fn at(now: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The id that belongs to one idempotency key of one tenant, the same each time: UUID version 8 (RFC 9562) of
    /// HMAC-SHA256 over both. Keyed with the deployment's own `secret`, so that nobody can compute the id of
    /// another tenant's job from a guessed key.
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "HMAC takes a key of any length, RFC 2104")]
    pub fn from_key(secret: &str, tenant: &Tenant, key: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
        mac.update(tenant.as_str().as_bytes());
        mac.update(&[0]); // no tenant contains it, so (tenant, key) pairs cannot run into each other
        mac.update(key.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id of the job that a schedule makes for one of its times, the same for every sweeper: UUID version 8 (RFC 9562)
    /// of a SHA-256. No key leads to it, since who chooses keys does not know the deployment's secret.
    pub fn of_occurrence(tenant: &Tenant, schedule: &str, time: Timestamp) -> Self {
        Self::derived(&format!("schedule\n{tenant}\n{schedule}\n{}", time.as_millis()))
    }

    /// The id of the job that tells a job's `callback_url` of one event, the `index`-th in its history, made likewise.
    pub fn of_callback(job: Self, index: usize) -> Self {
        Self::derived(&format!("callback\n{job}\n{index}"))
    }

    fn derived(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The last byte: random in both kinds of id, so it spreads jobs evenly over shards.
    pub fn spread(self) -> u8 {
        self.0.as_bytes()[15]
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    /// Takes the hyphenated form only, in either case.
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        let id = Uuid::try_parse(text)?;
        if text.len() == uuid::fmt::Hyphenated::LENGTH { Ok(Self(id)) } else { Uuid::try_parse("").map(Self) }
    }
}

impl TryFrom<String> for JobId {
    type Error = uuid::Error;
    fn try_from(text: String) -> Result<Self, uuid::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Whose job it is. Jobs of different tenants never see each other. Never contains `#` or a zero byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(String);

impl Tenant {
    /// The one tenant of a deployment that does not tell its callers apart.
    pub fn only() -> Self {
        Self("default".to_owned())
    }

    /// The tenant of this name: 1 to 64 letters, digits and `._:@-`. `None` if it is no such name.
    pub fn named(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
        ((1..=64).contains(&name.len()) && name.bytes().all(plain)).then(|| Self(name.to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one claim. Whoever writes the outcome of an attempt must show the token of the claim it ran under, so a
/// worker that was presumed dead cannot overwrite what its successor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseToken(u64);

impl LeaseToken {
    /// A token of eight random bytes.
    pub const fn new(random: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(random))
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<LeaseToken> for String {
    fn from(token: LeaseToken) -> Self {
        token.to_string()
    }
}

impl TryFrom<String> for LeaseToken {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_sort_by_time() {
        let early = JobId::at(Timestamp::from_millis(1_000), [0xff; 10]);
        let late = JobId::at(Timestamp::from_millis(2_000), [0; 10]);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn a_key_always_gives_the_same_id_and_another_secret_or_key_gives_another() {
        let tenant = Tenant::only();
        let id = JobId::from_key("secret", &tenant, "order-1");
        assert_eq!(id, JobId::from_key("secret", &tenant, "order-1"));
        assert_ne!(id, JobId::from_key("secret", &tenant, "order-2"));
        assert_ne!(id, JobId::from_key("other", &tenant, "order-1"));
    }

    #[test]
    fn a_tenant_has_a_plain_name() {
        for name in ["acme", "42", "auth0:user@example.com", &"x".repeat(64)] {
            assert_eq!(Tenant::named(name).expect(name).as_str(), name);
        }
        for name in ["", "a#b", "a b", "a\0", "ä", &"x".repeat(65)] {
            assert_eq!(Tenant::named(name), None, "{name:?}");
        }
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        assert!("01938e5c-7a00-7000-8000-000000000000".parse::<JobId>().is_ok());
        for not_an_id in ["", "42", "01938e5c7a0070008000000000000000", "{01938e5c-7a00-7000-8000-000000000000}"] {
            assert!(not_an_id.parse::<JobId>().is_err(), "{not_an_id}");
        }
    }

    #[test]
    fn a_token_survives_its_text_form() {
        let token = LeaseToken::new([0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(token.to_string(), "0001020304050607");
        assert_eq!(LeaseToken::try_from(token.to_string()), Ok(token));
    }

    #[test]
    fn jobs_are_spread_by_their_last_byte() {
        let derived: JobId = "01938e5c-7a00-8000-8000-0000000000a7".parse().expect("an id");
        assert_eq!(derived.spread(), 0xa7);
        let fresh = JobId::at(Timestamp::from_millis(1_000), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0x5c]);
        assert_eq!(fresh.spread(), 0x5c);
    }

    #[test]
    fn ids_tenants_and_tokens_are_kept_as_the_text_that_they_show() {
        let text = "01938e5c-7a00-7000-8000-000000000000";
        let id: JobId = text.parse().expect("an id");
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::to_value(id).expect("serialises"), text);
        assert_eq!(serde_json::from_value::<JobId>(text.into()).expect("reads back"), id);
        let tenant = Tenant::named("acme").expect("a name");
        assert_eq!(tenant.to_string(), "acme");
        assert_eq!(serde_json::to_value(&tenant).expect("serialises"), "acme");
        let token = LeaseToken::new([0xa0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(serde_json::to_value(token).expect("serialises"), "a001020304050607");
        assert_eq!(serde_json::from_value::<LeaseToken>("a001020304050607".into()).expect("reads back"), token);
    }
}

//! A product: the worked example of data of one's own that is stored together with the job about it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::id::{JobId, Tenant};
use crate::ports::{OwnItem, StoreError};
use crate::time::Timestamp;

/// A product of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub product_id: ProductId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is called.
    pub name: String,
    /// What it costs, in the smallest unit of whatever money its tenant counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<u64>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When its job had processed it; `None` before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<Timestamp>,
}

/// A product's id, a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(Uuid);

impl ProductId {
    /// The id of the product that this job processes, another for each job: UUID version 8 (RFC 9562) of a SHA-256.
    pub fn of(job: JobId) -> Self {
        let digest = Sha256::digest(format!("product of {job}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id in `text`; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH).map(Self)
    }
}

impl std::fmt::Display for ProductId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl Product {
    /// The key of its item, in the table that holds the jobs.
    pub fn key(tenant: &Tenant, id: ProductId) -> String {
        format!("product#{tenant}#{id}")
    }

    /// The item, to be stored together with its job.
    pub fn to_own_item(&self) -> OwnItem {
        let Self { product_id, tenant, name, price, created_at, processed_at: _ } = self;
        let mut item = json!({
            "id": Self::key(tenant, *product_id),
            "product_id": product_id,
            "tenant": tenant,
            "name": name,
            "created_at": created_at,
        });
        if let Some(price) = price {
            item["price"] = json!(price);
        }
        OwnItem { table: None, key: "id".to_owned(), item }
    }
}

/// Where products are.
#[async_trait]
pub trait Products: Send + Sync {
    /// A tenant's product as it is now.
    async fn find(&self, tenant: &Tenant, id: ProductId) -> Result<Option<Product>, StoreError>;

    /// Writes down that the product was processed, unless that is written already. Whether there is such a product.
    async fn mark_processed(&self, tenant: &Tenant, id: ProductId, at: Timestamp) -> Result<bool, StoreError>;
}

//! Products: the worked example of data of one's own, stored together with the job about it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use shared::job::submission::Submission;
use shared::job_type::JobType;
use shared::ports::{Inserted, InsertedWith};
use shared::product::{Product, ProductId};
use shared::values::id::JobId;
use shared::values::invalid::InvalidField;
use shared::values::json::Json as JsonText;
use shared::values::time::Timestamp;
use utoipa::ToSchema;

use crate::Api;
use crate::http::body::{BodyRead, IdRead, object};
use crate::http::caller::Caller;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::request_id::RequestId;
use crate::jobs::accept::{Accepted, IdempotencyKey, KEY_HEADER, announce, id_of, log_accepted, outcome};
use crate::jobs::submit::answer;
use crate::jobs::view::{maybe_rfc3339, rfc3339};

/// A product to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewProduct)]
#[serde(deny_unknown_fields)]
pub struct ProductBody {
    /// What it is called, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "Lamp")]
    name: String,
    /// What it costs, in the smallest unit of its money.
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_991_i64, example = 1999)]
    price: Option<f64>, // exact up to the highest price, and `1999.0` is a whole number, too
}

/// The greatest price: the greatest whole number that every JSON reader takes as it is.
const HIGHEST_PRICE: u64 = (1 << 53) - 1;

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a double holds each whole number up to the highest price"
)]
fn whole_price(price: f64) -> Result<u64, InvalidField> {
    if price.fract() == 0.0 && (0.0..=HIGHEST_PRICE as f64).contains(&price) {
        Ok(price as u64)
    } else {
        Err(InvalidField::new("price", format!("must be a whole number from 0 to {HIGHEST_PRICE}")))
    }
}

/// The longest name, in characters.
const LONGEST_NAME: usize = 200;

/// A product that was stored, and the job about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedProduct {
    /// The product.
    #[schema(value_type = String, format = "uuid")]
    product_id: ProductId,
    /// Its `product-processing` job.
    #[schema(value_type = String, format = "uuid")]
    job_id: JobId,
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub struct ProductView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    product_id: ProductId,
    /// What it is called.
    name: String,
    /// What it costs.
    price: Option<u64>,
    /// When it was stored.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its job had processed it; null before.
    #[serde(serialize_with = "maybe_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    processed_at: Option<Timestamp>,
}

/// Store a product, and the job about it
///
/// Both in one transaction: there is never one without the other.
#[utoipa::path(post, path = "/products", tag = "products", operation_id = "createProduct", request_body = ProductBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "names this request, so that repeating it makes no second product")),
    responses((status = 202, description = "Both are stored, and the job is on its way", body = CreatedProduct)))]
pub async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: BodyRead,
) -> Result<Response, Problem> {
    let ProductBody { name, price } = object(&headers, body, false)?;
    if !(1..=LONGEST_NAME).contains(&name.chars().count()) {
        return Err(InvalidField::new("name", format!("must be 1 to {LONGEST_NAME} characters long")).into());
    }
    let price = price.map(whole_price).transpose()?;
    let key = IdempotencyKey::from_headers(&headers)?.map(|key| key.within("product"));
    let now = api.clock.now();
    api.quota.take(&caller.tenant, 1, now).await?;
    let job_id = id_of(&api, &caller, key.as_ref(), now);
    let product_id = ProductId::of(job_id);
    let product =
        Product { product_id, tenant: caller.tenant.clone(), name, price, created_at: now, processed_at: None };

    let payload = JsonText::of(&serde_json::json!({ "product_id": product_id }));
    let payload = payload.map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))?;
    let own = format!("{:?} {:?}", product.name, product.price);
    let submission = Submission::plain(JobType::ProductProcessing, payload).together_with(own);
    let job = submission.into_job(job_id, caller.tenant.clone(), now, request_id.origin(&headers));
    let inserted = match api.store.insert_with(&job, &product.to_own_item()).await? {
        InsertedWith::New => Inserted::New,
        InsertedWith::JobThere(there) => Inserted::AlreadyThere(there),
        // Its job is no longer kept, and the product is.
        InsertedWith::OwnItemThere => return Err(Problem::key_used_before(KEY_HEADER)),
    };
    let Accepted { id, replayed } = outcome(inserted, &job, KEY_HEADER)?;
    if !replayed {
        let announced = announce(&api, &job).await;
        log_accepted(&api, &job, announced);
    }
    Ok(answer(format!("/products/{product_id}"), replayed, CreatedProduct { product_id, job_id: id }))
}

/// A product, and when it was processed
#[utoipa::path(get, path = "/products/{id}", tag = "products", operation_id = "getProduct",
    params(("id" = String, Path, description = "the product's id", format = "uuid")),
    responses((status = 200, description = "The product", body = ProductView)))]
pub async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    id: IdRead,
) -> Result<Json<ProductView>, Problem> {
    let id = id.ok().and_then(|path| ProductId::parse(&path.0)).ok_or_else(|| {
        Problem::field(ProblemCode::InvalidRequest, &InvalidField::new("product_id", "must be a UUID with hyphens"))
    })?;
    let product = api.products.find(&caller.tenant, id).await?;
    let not_there = || Problem::new(ProblemCode::NotFound, "there is no product with this id");
    let Product { product_id, tenant: _, name, price, created_at, processed_at } = product.ok_or_else(not_there)?;
    Ok(Json(ProductView { product_id, name, price, created_at, processed_at }))
}

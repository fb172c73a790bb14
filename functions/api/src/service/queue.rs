//! The queue as a whole: stopping the starting of jobs, and letting it go on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::http::problem::Problem;

/// How the queue is.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueStatus {
    /// Whether no job is started. Those that run go on.
    paused: bool,
    /// How many messages wait to be received, roughly; null if the queue does not tell. Those held back by a delay are not
    /// among them.
    waiting_messages: Option<usize>,
}

/// How the queue is
#[utoipa::path(get, path = "/queue", tag = "queue", operation_id = "getQueue", responses((status = 200, description = "The queue", body = QueueStatus)))]
pub async fn show(State(api): State<Arc<Api>>) -> Result<Json<QueueStatus>, Problem> {
    let paused = api.switch.is_paused().await?;
    Ok(Json(QueueStatus { paused, waiting_messages: api.queue.waiting().await.ok() }))
}

/// Stop the starting of jobs
///
/// For all tenants. Jobs are still accepted; those that run go on; no attempt is lost. Each worker sees it within 10 s.
#[utoipa::path(post, path = "/queue/pause", tag = "queue", operation_id = "pauseQueue", responses((status = 200, description = "It is paused", body = QueueStatus)))]
pub async fn pause(State(api): State<Arc<Api>>) -> Result<Json<QueueStatus>, Problem> {
    set_paused(&api, true).await
}

/// Let jobs be started again
///
/// What has become ready in the meantime is announced by the next sweep, within a minute.
#[utoipa::path(post, path = "/queue/resume", tag = "queue", operation_id = "resumeQueue", responses((status = 200, description = "It goes on", body = QueueStatus)))]
pub async fn resume(State(api): State<Arc<Api>>) -> Result<Json<QueueStatus>, Problem> {
    set_paused(&api, false).await
}

async fn set_paused(api: &Api, paused: bool) -> Result<Json<QueueStatus>, Problem> {
    api.switch.set_paused(paused).await?;
    tracing::info!(paused, "queue.switched");
    Ok(Json(QueueStatus { paused, waiting_messages: api.queue.waiting().await.ok() }))
}

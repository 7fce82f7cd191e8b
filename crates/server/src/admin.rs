//! The admin API: health, metrics and `/v1`. It answers only those who reach it under a name of
//! this machine, so that no web page can drive it (see `admin/guard.rs`).

mod guard;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sabir_broker::Broker;
use sabir_broker::clock::{Clock, Instant};
use serde_json::json;

use crate::metrics::{self, Source};

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long one request may take, its body included.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What the handlers share.
pub struct Admin {
    pub broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    started: Instant,
    sources: OnceLock<Vec<Source>>,
    stopping: AtomicBool,
}

impl Admin {
    pub fn new(broker: Arc<Broker>, clock: Arc<dyn Clock>) -> Arc<Admin> {
        let started = clock.now().mono;
        let (sources, stopping) = (OnceLock::new(), AtomicBool::new(false));
        Arc::new(Admin { broker, clock, started, sources, stopping })
    }

    /// Called once all listeners accept.
    pub fn set_ready(&self, sources: Vec<Source>) {
        let _ = self.sources.set(sources);
    }

    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.sources.get().is_some() && !self.stopping.load(Ordering::Acquire)
    }
}

pub fn router(admin: &Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .fallback(async || error(StatusCode::NOT_FOUND, "not_found", "no such path"))
        .with_state(admin.clone())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn(guard::check))
}

async fn limit_time(request: axum::extract::Request, next: middleware::Next) -> Response {
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => error(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long"),
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    match admin.is_ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

async fn metrics_page(State(admin): State<Arc<Admin>>) -> Response {
    let uptime = admin.clock.now().mono.since(admin.started).as_secs_f64();
    let page = metrics::page(admin.sources.get().map_or(&[], Vec::as_slice), uptime);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}

/// Every error of the API looks like this.
fn error(status: StatusCode, kind: &str, message: impl Into<String>) -> Response {
    let body = json!({ "error": { "kind": kind, "message": message.into() } });
    (status, Json(body)).into_response()
}

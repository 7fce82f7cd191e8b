//! The admin API: health, metrics and `/v1`. It answers only those who reach it under a name of
//! this machine, so that no web page can drive it (see `admin/guard.rs`).

mod answer;
mod guard;
pub mod shapes;
mod topics;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use answer::refuse;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sabir_broker::Broker;
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Clock, Instant};
use sabir_broker::policy::Identity;
use sabir_broker::topic::NamespaceId;
use shapes::{ListenerStats, Stats};

use crate::memory;
use crate::metrics::{self, Source};

const OPENAPI: &str = include_str!("admin/openapi.json");

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long one request may take, its body included.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// The namespace `default`, the only one so far.
const NAMESPACE: NamespaceId = 0;

/// What the handlers share.
pub struct Admin {
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    partitions: u32,
    started: Instant,
    sources: OnceLock<Vec<Source>>,
    stopping: AtomicBool,
}

impl Admin {
    /// `partitions`: of a topic made without a number.
    pub fn new(broker: Arc<Broker>, clock: Arc<dyn Clock>, partitions: u32) -> Arc<Admin> {
        let started = clock.now().mono;
        let (sources, stopping) = (OnceLock::new(), AtomicBool::new(false));
        Arc::new(Admin { broker, clock, partitions, started, sources, stopping })
    }

    /// Called once all listeners accept.
    pub fn set_ready(&self, sources: Vec<Source>) {
        let _ = self.sources.set(sources);
    }

    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Who asks. There are no logins yet: the guard lets in only this machine, as anonymous.
    fn caller(&self) -> Caller {
        Caller::new(self.broker.clone(), Identity::anonymous(), NAMESPACE)
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
        .route("/v1/openapi.json", get(openapi))
        .route("/v1/stats", get(stats))
        .route("/v1/topics", get(topics::list).post(topics::create))
        .route("/v1/topics/{name}", get(topics::describe).delete(topics::delete))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "not_found", "no such path"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "invalid", "no such method on this path")
        })
        .with_state(admin.clone())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn(guard::check))
}

async fn limit_time(request: axum::extract::Request, next: middleware::Next) -> Response {
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long"),
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

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn stats(State(admin): State<Arc<Admin>>) -> Json<Stats> {
    let up = admin.clock.now().mono.since(admin.started).as_millis();
    let sources = admin.sources.get().map_or(&[][..], Vec::as_slice);
    Json(Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(up).unwrap_or(u64::MAX),
        memory_bytes: memory::resident().unwrap_or(0),
        listeners: sources.iter().map(listener_stats).collect(),
    })
}

fn listener_stats(source: &Source) -> ListenerStats {
    let counters = &source.counters;
    ListenerStats {
        name: source.listener.to_string(),
        open: counters.open.get(),
        accepted: counters.accepted.get(),
        refused: counters.refused.get(),
        received_bytes: counters.bytes_in.get(),
        sent_bytes: counters.bytes_out.get(),
        panics: counters.panics.get(),
    }
}

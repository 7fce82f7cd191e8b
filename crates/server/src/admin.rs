//! The admin API: health, metrics and `/v1`. It answers only those who reach it under a name of
//! this machine, so that no web page can drive it (see `admin/guard.rs`).

mod answer;
mod export;
mod groups;
mod guard;
mod namespaces;
pub mod records;
pub mod shapes;
mod stats;
mod topics;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use answer::{Refused, aside, refuse};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use sabir_broker::Broker;
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Clock, Instant};
use sabir_broker::namespace;
use sabir_broker::policy::Identity;
use shapes::{Exposed, Exposure};

use crate::metrics::{self, Source};

const OPENAPI: &str = include_str!("admin/openapi.json");

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long one request may take, its body included.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What is open once the server is ready.
struct Open {
    sources: Vec<Source>,
    exposed: Vec<Exposed>,
}

/// What the handlers share.
pub struct Admin {
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    partitions: u32,
    started: Instant,
    open: OnceLock<Open>,
    stopping: AtomicBool,
    /// Rises with each request of records: those without a key take partitions in turn.
    turn: AtomicUsize,
}

impl Admin {
    /// `partitions`: of a topic made without a number.
    pub fn new(broker: Arc<Broker>, clock: Arc<dyn Clock>, partitions: u32) -> Arc<Admin> {
        let started = clock.now().mono;
        let (open, stopping, turn) = Default::default();
        Arc::new(Admin { broker, clock, partitions, started, open, stopping, turn })
    }

    /// Called once all listeners accept.
    pub fn set_ready(&self, sources: Vec<Source>, exposed: Vec<Exposed>) {
        let _ = self.open.set(Open { sources, exposed });
    }

    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Who asks, for what lies in no namespace, or in `default`. There are no logins yet: the guard
    /// lets in only this machine, as anonymous.
    fn caller(&self) -> Caller {
        Caller::new(self.broker.clone(), Identity::anonymous(), namespace::DEFAULT)
    }

    fn sources(&self) -> &[Source] {
        self.open.get().map_or(&[], |open| &open.sources)
    }

    fn is_ready(&self) -> bool {
        self.open.get().is_some() && !self.stopping.load(Ordering::Acquire)
    }
}

pub fn router(admin: &Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/v1/openapi.json", get(openapi))
        .route("/v1/stats", get(stats::show))
        .route("/v1/exposure", get(exposure))
        .route("/v1/export", post(export::make))
        .route("/v1/groups", get(groups::list))
        .route("/v1/groups/{id}", get(groups::describe).delete(groups::delete))
        .route("/v1/groups/{id}/offsets", get(groups::offsets))
        .route("/v1/namespaces", get(namespaces::list).post(namespaces::create))
        .route(
            "/v1/namespaces/{name}",
            get(namespaces::describe).patch(namespaces::alter).delete(namespaces::delete),
        )
        .route("/v1/topics", get(topics::list).post(topics::create))
        .route(
            "/v1/topics/{name}",
            get(topics::describe).patch(topics::alter).delete(topics::delete),
        )
        .route("/v1/topics/{name}/partitions", put(topics::set_partitions))
        .route(
            "/v1/topics/{name}/records",
            post(records::publish).layer(DefaultBodyLimit::max(records::BODY_BYTES_MAX)),
        )
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

async fn metrics_page(State(admin): State<Arc<Admin>>) -> Result<Response, Refused> {
    let page = aside(move || {
        let uptime = admin.clock.now().mono.since(admin.started).as_secs_f64();
        let caller = admin.caller();
        let broker = caller.stats()?;
        let (namespaces, topics) = (caller.namespaces(), caller.all_topic_stats());
        Ok::<_, Refused>(metrics::page(admin.sources(), uptime, &broker, &namespaces, &topics))
    });
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page.await?).into_response())
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn exposure(State(admin): State<Arc<Admin>>) -> Json<Exposure> {
    let listeners = admin.open.get().map_or_else(Vec::new, |open| open.exposed.clone());
    Json(Exposure { listeners })
}

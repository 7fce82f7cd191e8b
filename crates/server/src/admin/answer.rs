//! How handlers answer: JSON bodies in and out, errors of the core as a status, and the wait until
//! what was done is kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sabir_broker::caller::Caller;
use sabir_broker::error::{Error, Kind};
use sabir_broker::ticket::Ticket;
use sabir_broker::wake::Waker;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::shapes::{Failure, FailureBody};

/// Every refusal looks like this.
pub fn refuse(status: StatusCode, kind: &str, message: impl Into<String>) -> Response {
    let error = FailureBody { kind: kind.to_owned(), message: message.into() };
    (status, Json(Failure { error })).into_response()
}

/// An error of the core on its way out.
pub struct Refused(pub Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, kind) = match self.0.kind {
            Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            Kind::Denied => (StatusCode::FORBIDDEN, "denied"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Kind::Exists => (StatusCode::CONFLICT, "exists"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
            Kind::Gone => (StatusCode::GONE, "gone"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Kind::Throttled => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
            Kind::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            Kind::Fenced => (StatusCode::CONFLICT, "fenced"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Kind::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
        };
        refuse(status, kind, self.0.message)
    }
}

/// A request's JSON. It has to say that it is JSON: a web page cannot without asking first.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Response> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Body(body)),
            Err(rejection) => Err(wrong_body(&rejection)),
        }
    }
}

fn wrong_body(rejection: &JsonRejection) -> Response {
    let kind = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        _ => "invalid",
    };
    refuse(rejection.status(), kind, rejection.body_text())
}

/// Returns once the ticket is reached.
pub async fn kept(caller: &Caller, ticket: Ticket) {
    let notify = Arc::new(Notify::new());
    let ring = notify.clone();
    let waker = Waker::new(move || ring.notify_one());
    while !caller.is_kept(ticket) {
        caller.wait(ticket, &waker);
        notify.notified().await;
        waker.take();
    }
}

/// Does what may take a while where no connection waits for it.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

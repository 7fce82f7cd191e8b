//! `/v1/export`: all state rows into a file of the data directory, now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Admin;
use super::answer::{Refused, aside};
use super::shapes::Exported;

pub async fn make(State(admin): State<Arc<Admin>>) -> Result<Json<Exported>, Refused> {
    let done = aside(move || admin.caller().export(admin.clock.now())).await?;
    Ok(Json(done.map_or_else(Exported::default, |done| Exported {
        path: Some(done.path),
        checkpoint: done.checkpoint,
        bytes: done.bytes,
    })))
}

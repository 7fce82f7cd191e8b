//! `/v1/namespaces`, and how every other path is told which one is meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use sabir_broker::caller::Caller;
use sabir_broker::error::Error;
use sabir_broker::namespace::{DEFAULT_NAME, Namespace};
use sabir_broker::policy::Identity;
use sabir_broker::quota::Quota;
use serde::Deserialize;

use super::Admin;
use super::answer::{Body, Refused, kept, refuse};
use super::shapes::{self, AlterNamespace, CreateNamespace, Namespaces, QuotaValues};

type Answer<T> = Result<T, Refused>;

/// Who asks, in the namespace that the query names with `namespace=`; without it in `default`.
pub struct Asker(pub Caller);

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    namespace: Option<String>,
}

impl FromRequestParts<Arc<Admin>> for Asker {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Asker, Response> {
        let query = Query::<Which>::try_from_uri(&parts.uri).map_err(|rejection| {
            refuse(StatusCode::BAD_REQUEST, "invalid", rejection.body_text())
        })?;
        let name = query.0.namespace.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let found = admin.caller().find_namespace(&name);
        let found = found.map_err(|error| Refused(error).into_response())?;
        Ok(Asker(Caller::new(admin.broker.clone(), Identity::anonymous(), found.id)))
    }
}

pub async fn list(State(admin): State<Arc<Admin>>) -> Json<Namespaces> {
    let caller = admin.caller();
    let all = caller.namespaces();
    let namespaces = all.iter().map(|one| shape(&caller, one)).collect();
    kept(&caller, caller.catalog_ticket()).await;
    Json(Namespaces { namespaces })
}

pub async fn create(
    State(admin): State<Arc<Admin>>,
    Body(wanted): Body<CreateNamespace>,
) -> Answer<(StatusCode, Json<shapes::Namespace>)> {
    let caller = admin.caller();
    let mut quota = Quota::default();
    change(&mut quota, &wanted.quota)?;
    let (made, ticket) = caller.declare_namespace(admin.clock.now(), &wanted.name, quota)?;
    kept(&caller, ticket).await;
    Ok((StatusCode::CREATED, Json(shape(&caller, &made))))
}

pub async fn describe(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Answer<Json<shapes::Namespace>> {
    let caller = admin.caller();
    let found = shape(&caller, &*caller.find_namespace(&name)?);
    kept(&caller, caller.catalog_ticket()).await;
    Ok(Json(found))
}

pub async fn alter(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Body(wanted): Body<AlterNamespace>,
) -> Answer<Json<shapes::Namespace>> {
    let caller = admin.caller();
    let (now, ticket) = caller.alter_quota(&name, |quota| change(quota, &wanted.quota))?;
    kept(&caller, ticket).await;
    Ok(Json(shape(&caller, &now)))
}

pub async fn delete(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let caller = admin.caller();
    let ticket = caller.delete_namespace(&name)?;
    kept(&caller, ticket).await;
    Ok(StatusCode::NO_CONTENT)
}

fn change(quota: &mut Quota, values: &QuotaValues) -> Result<(), Error> {
    values.iter().try_for_each(|(name, value)| quota.set(name, *value))
}

fn shape(caller: &Caller, namespace: &Namespace) -> shapes::Namespace {
    let usage = caller.usage(namespace);
    let names = Quota::NAMES.iter().map(|name| (*name).to_owned());
    shapes::Namespace {
        name: namespace.name.to_string(),
        created_ms: namespace.created_ms,
        topics: usage.topics,
        partitions: usage.partitions,
        groups: usage.groups,
        connections: namespace.meter.connections(),
        holds: namespace.meter.holds(),
        quota: names.zip(namespace.quota.values()).collect::<BTreeMap<_, _>>(),
    }
}

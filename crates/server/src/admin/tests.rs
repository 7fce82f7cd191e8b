//! The API's document against the API.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use sabir_broker::random::Seeded;
use sabir_net::clock::SystemClock;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

/// Documented, but without a handler.
const MISSING: &[&str] = &[
    "GET /v1/groups",
    "DELETE /v1/groups/{id}",
    "GET /v1/groups/{id}",
    "GET /v1/groups/{id}/offsets",
    "PATCH /v1/topics/{name}",
    "PUT /v1/topics/{name}/partitions",
];

struct House {
    router: Router,
    dir: std::path::PathBuf,
    broker: Arc<Broker>,
}

impl House {
    fn new(name: &str) -> House {
        let dir = std::env::temp_dir().join(format!("sabir-admin-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let broker = Broker::open(&dir, Default::default(), &mut Seeded(1)).unwrap();
        let admin = Admin::new(broker.clone(), Arc::new(SystemClock::start()), 2);
        House { router: router(&admin), dir, broker }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.broker.close();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or("")
}

#[tokio::test]
async fn the_document_names_what_is_served() {
    let house = House::new("document");
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut missing = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let (_, answer) = house.ask(&method, &path.replace(['{', '}'], ""), "{}").await;
            if message(&answer).starts_with("no such ") {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    missing.sort_by_key(|name| name.split(' ').rev().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(missing, MISSING);
}

#[tokio::test]
async fn topics_are_made_shown_and_deleted() {
    let house = House::new("topics");
    let body = r#"{"name":"orders","partitions":3,"settings":{"retention_ms":5}}"#;
    let (status, made) = house.ask("POST", "/v1/topics", body).await;
    assert_eq!((status, &made["partitions"][2]["end"]), (201, &0.into()), "{made}");
    assert_eq!(
        (&made["settings"]["retention_ms"], &made["own"][0]),
        (&5.into(), &"retention_ms".into())
    );
    let (status, again) = house.ask("POST", "/v1/topics", body).await;
    assert_eq!((status, &again["error"]["kind"]), (409, &"exists".into()));
    let (_, list) = house.ask("GET", "/v1/topics", "").await;
    assert_eq!(
        (&list["topics"][0]["name"], &list["topics"][0]["partitions"]),
        (&"orders".into(), &3.into())
    );
    let (status, shown) = house.ask("GET", "/v1/topics/orders", "").await;
    assert_eq!((status, shown), (200, made));
    let (_, with_default) = house.ask("POST", "/v1/topics", r#"{"name":"a/b ?"}"#).await;
    assert_eq!(with_default["partitions"].as_array().map(Vec::len), Some(2));
    assert_eq!(house.ask("DELETE", "/v1/topics/a%2Fb%20%3F", "").await, (204, Value::Null));
    assert_eq!(house.ask("DELETE", "/v1/topics/orders", "").await, (204, Value::Null));
    let (status, gone) = house.ask("GET", "/v1/topics/orders", "").await;
    assert_eq!((status, message(&gone)), (404, "no topic \"orders\""));
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused() {
    let house = House::new("bodies");
    let cases = [
        ("", 400),
        ("{", 400),
        (r#"{"partitions":3}"#, 422),
        (r#"{"name":"a","teapot":1}"#, 422),
        (r#"{"name":"a","partitions":0}"#, 400),
        (r#"{"name":"a","partitions":-1}"#, 422),
        (r#"{"name":""}"#, 400),
        (r#"{"name":"a","settings":{"teapot":1}}"#, 400),
    ];
    for (body, want) in cases {
        let (status, answer) = house.ask("POST", "/v1/topics", body).await;
        assert_eq!(
            (status, &answer["error"]["kind"]),
            (want, &"invalid".into()),
            "{body} {answer}"
        );
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20));
    let (status, answer) = house.ask("POST", "/v1/topics", &large).await;
    assert_eq!((status, &answer["error"]["kind"]), (413, &"too_large".into()));
}

//! The API's document against the API.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use sabir_broker::clock::Now;
use sabir_broker::error::Error;
use sabir_broker::group::{Commit, Join, LeaveMember, OffsetCommit, Sync};
use sabir_broker::groups::{Answer, Asked};
use sabir_broker::random::Seeded;
use sabir_broker::wake::Waker;
use sabir_net::clock::SystemClock;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

mod records;

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
        let mut settings = sabir_broker::Settings::default();
        settings.groups.initial_delay_ms = 0;
        let broker = Broker::open(&dir, settings, &mut Seeded(1)).unwrap();
        let admin = Admin::new(broker.clone(), Arc::new(SystemClock::start()), 2);
        House { router: router(&admin), dir, broker }
    }

    fn caller(&self) -> Caller {
        Caller::new(self.broker.clone(), Identity::anonymous(), namespace::DEFAULT)
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
    assert_eq!(missing, [""; 0], "documented, but without a handler");
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
async fn namespaces_are_made_limited_and_deleted() {
    let house = House::new("namespaces");
    let all = "/v1/namespaces";
    let body = r#"{"name":"a/b ?","quota":{"bytes_in":1000,"topics":1}}"#;
    let (status, made) = house.ask("POST", all, body).await;
    let quota = serde_json::json!({
        "bytes_in": 1000, "bytes_out": null, "requests": null,
        "topics": 1, "partitions": null, "connections": null,
    });
    assert_eq!((status, &made["name"], &made["quota"]), (201, &"a/b ?".into(), &quota));
    let path = "/v1/namespaces/a%2Fb%20%3F";
    assert_eq!(house.ask("GET", path, "").await, (200, made));
    let change = r#"{"quota":{"bytes_in":null,"requests":5}}"#;
    let (status, changed) = house.ask("PATCH", path, change).await;
    let got = (&changed["quota"]["bytes_in"], &changed["quota"]["requests"]);
    assert_eq!((status, got), (200, (&Value::Null, &5.into())));
    let (_, list) = house.ask("GET", all, "").await;
    let names: Vec<&Value> =
        list["namespaces"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["a/b ?", "default"]);

    let within = "?namespace=a%2Fb%20%3F";
    let topic = r#"{"name":"t","partitions":3}"#;
    let topics = format!("/v1/topics{within}");
    assert_eq!(house.ask("POST", &topics, topic).await.0, 201);
    assert_eq!(house.ask("GET", "/v1/topics/t", "").await.0, 404, "it is not in the default one");
    assert_eq!(house.ask("POST", "/v1/topics", topic).await.0, 201);
    let (status, full) = house.ask("POST", &topics, r#"{"name":"u"}"#).await;
    assert_eq!((status, message(&full)), (413, "the quota of the namespace allows 1 topics"));
    let (_, stats) = house.ask("GET", &format!("/v1/stats{within}"), "").await;
    assert_eq!(stats["topics"][0]["partitions"], 3);
    assert_eq!(house.ask("GET", &format!("/v1/groups{within}"), "").await.0, 200);
    let (_, shown) = house.ask("GET", path, "").await;
    assert_eq!((&shown["topics"], &shown["partitions"]), (&1.into(), &3.into()));

    let refused = [
        ("POST", all, body, 409, "exists"),
        ("POST", all, r#"{"name":"/"}"#, 409, "exists"),
        ("POST", all, r#"{"name":""}"#, 400, "invalid"),
        ("POST", all, r#"{"name":"b","quota":{"teapots":1}}"#, 400, "invalid"),
        ("POST", all, r#"{"name":"b","quota":{"requests":0}}"#, 400, "invalid"),
        ("POST", all, r#"{"name":"b","quota":{"requests":-1}}"#, 422, "invalid"),
        ("PATCH", "/v1/namespaces/none", change, 404, "not_found"),
        ("DELETE", "/v1/namespaces/none", "", 404, "not_found"),
        ("DELETE", "/v1/namespaces/default", "", 400, "invalid"),
        ("DELETE", "/v1/namespaces/%2F", "", 400, "invalid"),
        ("DELETE", path, "", 409, "conflict"),
        ("GET", "/v1/topics?namespace=none", "", 404, "not_found"),
        ("GET", "/v1/groups?namespace=none", "", 404, "not_found"),
        ("GET", "/v1/stats?namespace=none", "", 404, "not_found"),
        ("POST", "/v1/topics?namespace=none", topic, 404, "not_found"),
    ];
    for (method, path, body, want, kind) in refused {
        let (status, answer) = house.ask(method, path, body).await;
        assert_eq!((status, &answer["error"]["kind"]), (want, &kind.into()), "{path} {body}");
    }
    let gone = house.ask("DELETE", &format!("/v1/topics/t{within}"), "").await;
    assert_eq!(gone, (204, Value::Null));
    assert_eq!(house.ask("DELETE", path, "").await, (204, Value::Null));
    assert_eq!(house.ask("GET", "/v1/topics/t?namespace=%2F", "").await.0, 200);
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

#[tokio::test]
async fn topics_are_altered_and_grow() {
    let house = House::new("alter");
    let body = r#"{"name":"a","partitions":2,"settings":{"retention_ms":5,"segment_ms":7}}"#;
    let (_, made) = house.ask("POST", "/v1/topics", body).await;
    let change = r#"{"settings":{"retention_ms":null,"segment_bytes":2097152}}"#;
    let (status, altered) = house.ask("PATCH", "/v1/topics/a", change).await;
    assert_eq!((status, &altered["id"]), (200, &made["id"]));
    assert_eq!(altered["own"], serde_json::json!(["segment_bytes", "segment_ms"]));
    assert_eq!(altered["settings"]["segment_bytes"], 2_097_152);
    assert_eq!(altered["settings"]["retention_ms"], 7 * 24 * 60 * 60 * 1000);
    let (status, grown) = house.ask("PUT", "/v1/topics/a/partitions", r#"{"count":5}"#).await;
    assert_eq!((status, grown["partitions"].as_array().map(Vec::len)), (200, Some(5)));
    assert_eq!(house.ask("GET", "/v1/topics/a", "").await, (200, grown));
    let refused = [
        ("PUT", "/v1/topics/a/partitions", r#"{"count":5}"#, 400, "invalid"),
        ("PUT", "/v1/topics/a/partitions", r#"{"count":0}"#, 400, "invalid"),
        ("PUT", "/v1/topics/a/partitions", r#"{"count":-1}"#, 422, "invalid"),
        ("PUT", "/v1/topics/none/partitions", r#"{"count":5}"#, 404, "not_found"),
        ("PATCH", "/v1/topics/none", change, 404, "not_found"),
        ("PATCH", "/v1/topics/a", r#"{"settings":{"retention_bytes":-2}}"#, 400, "invalid"),
        ("PATCH", "/v1/topics/a", r#"{"settings":{"segment_bytes":4294967296}}"#, 400, "invalid"),
        ("PATCH", "/v1/topics/a", r#"{"settings":{"durability":"maybe"}}"#, 400, "invalid"),
    ];
    for (method, path, body, want, kind) in refused {
        let (status, answer) = house.ask(method, path, body).await;
        assert_eq!((status, &answer["error"]["kind"]), (want, &kind.into()), "{path} {body}");
    }
}

#[tokio::test]
async fn what_a_protocol_has_promised_of_a_topic_holds_after_a_change() {
    let house = House::new("promise");
    let _made = house.ask("POST", "/v1/topics", r#"{"name":"a"}"#).await;
    let topic = house.caller().topic("a").unwrap();
    let labels = [("kafka.flush.messages".to_owned(), "1".to_owned())].into();
    house.caller().alter(&topic, topic.policy.clone(), labels).unwrap();
    let os = r#"{"settings":{"durability":"os"}}"#;
    let (status, refused) = house.ask("PATCH", "/v1/topics/a", os).await;
    assert_eq!((status, &refused["error"]["kind"]), (400, &"invalid".into()), "{refused}");
    let other = r#"{"settings":{"retention_ms":1}}"#;
    assert_eq!(house.ask("PATCH", "/v1/topics/a", other).await.0, 200);
    let kept = house.caller().topic("a").unwrap().labels.clone();
    assert_eq!(kept["kafka.flush.messages"], "1");
}

fn now() -> Now {
    SystemClock::start().now()
}

/// Repeats what is throttled.
async fn again<T>(caller: &Caller, act: impl Fn() -> Result<Answer<T>, Error>) -> T {
    loop {
        match act() {
            Ok(Answer { value, ticket }) => {
                answer::kept(caller, ticket).await;
                return value;
            }
            Err(error) => answer::kept(caller, error.wait.expect("throttled")).await,
        }
    }
}

/// Makes `c-1` the only member of a group, with this assignment.
async fn join(caller: &Caller, group: &str, assignment: &[u8]) {
    let waker = &Waker::none();
    let join = Join {
        member_id: "",
        new_member_id: "c-1",
        instance_id: Some("i-1"),
        client_id: "java",
        client_host: "/127.0.0.1",
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer",
        protocols: &[("range", b"meta")],
        known_member_only: false,
        may_skip_assignment: false,
        waker,
    };
    let Asked::Done(joined) = again(caller, || caller.join(now(), group, join)).await else {
        panic!("nobody to wait for")
    };
    let sync = Sync {
        member_id: "c-1",
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments: &[("c-1", assignment)],
        waker,
    };
    let synced = again(caller, || caller.sync(now(), group, sync)).await;
    assert!(matches!(synced, Asked::Done(_)), "{synced:?}");
}

#[tokio::test]
async fn groups_are_shown_and_deleted_when_nobody_is_in() {
    let house = House::new("groups");
    let caller = house.caller();
    for name in ["b", "a"] {
        let body = format!("{{\"name\":\"{name}\"}}");
        assert_eq!(house.ask("POST", "/v1/topics", &body).await.0, 201);
    }
    let both = b"\0\0\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0";
    join(&caller, "g", both).await;
    join(&caller, "odd", b"no assignment of consumers").await;
    let offset = |name: &str, partition| OffsetCommit {
        topic: caller.topic(name).unwrap().uuid,
        partition,
        offset: 0,
        leader_epoch: -1,
        metadata: "",
        expire_ms: None,
    };
    let offsets = [offset("b", 0), offset("a", 1), offset("a", 0)];
    let commit = Commit { member_id: "", instance_id: None, generation: -1, offsets: &offsets };
    again(&caller, || caller.commit_offsets(now(), "lonely", commit)).await.unwrap();

    let (_, list) = house.ask("GET", "/v1/groups", "").await;
    let line = |id: &str, state: &str, members: u32| {
        let id = id.to_owned();
        serde_json::json!({"id": id, "state": state, "members": members})
    };
    let want = [line("g", "stable", 1), line("lonely", "empty", 0), line("odd", "stable", 1)];
    assert_eq!(list["groups"], serde_json::json!(want));
    let (_, group) = house.ask("GET", "/v1/groups/g", "").await;
    let want = serde_json::json!({
        "id": "g", "state": "stable", "generation": 1, "strategy": "range",
        "members": [{
            "id": "c-1", "instance": "i-1", "client": "java", "host": "/127.0.0.1",
            "partitions": [{"topic": "a", "partition": 0}, {"topic": "a", "partition": 1}],
        }],
    });
    assert_eq!(group, want);
    let (_, odd) = house.ask("GET", "/v1/groups/odd", "").await;
    assert_eq!(odd["members"][0]["partitions"], serde_json::json!([]));
    let (_, shown) = house.ask("GET", "/v1/groups/lonely/offsets", "").await;
    let at = |topic: &str, partition: u32| {
        let (committed, end, lag) = (0, 0, 0);
        serde_json::json!({
            "topic": topic, "partition": partition, "committed": committed, "end": end, "lag": lag,
        })
    };
    assert_eq!(shown["offsets"], serde_json::json!([at("a", 0), at("a", 1), at("b", 0)]));

    let (status, refused) = house.ask("DELETE", "/v1/groups/g", "").await;
    assert_eq!((status, &refused["error"]["kind"]), (409, &"conflict".into()));
    let leave = [LeaveMember { member_id: "c-1", instance_id: None }];
    again(&caller, || caller.leave(now(), "g", &leave)).await;
    for id in ["g", "lonely"] {
        let path = format!("/v1/groups/{id}");
        assert_eq!(house.ask("DELETE", &path, "").await, (204, Value::Null), "{id}");
    }
    let gone = [("GET", ""), ("DELETE", ""), ("GET", "/offsets")];
    for (method, rest) in gone {
        let (status, answer) = house.ask(method, &format!("/v1/groups/g{rest}"), "").await;
        assert_eq!((status, message(&answer)), (404, "no group \"g\""), "{method} {rest}");
    }
}

/// Whether a value is as the document says: no field of an object missing, none unknown.
fn check_schema(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(&name[1..]).expect(name);
        return check_schema(document, schema, value, at);
    }
    match schema["type"].as_str() {
        Some("array") => {
            for (n, item) in value.as_array().expect(at).iter().enumerate() {
                check_schema(document, &schema["items"], item, &format!("{at}[{n}]"));
            }
        }
        Some("object") if schema["properties"].is_object() => {
            let fields = value.as_object().expect(at);
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
            }
            for (name, field) in fields {
                let schema = schema["properties"].get(name);
                let schema = schema.unwrap_or_else(|| panic!("{at}: {name} is not documented"));
                check_schema(document, schema, field, &format!("{at}.{name}"));
            }
        }
        Some("integer") => assert!(value.is_i64() || value.is_u64(), "{at}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value}"),
        Some("string") => assert!(value.is_string(), "{at}: {value}"),
        _ => {}
    }
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let house = House::new("schema");
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let _made = house.ask("POST", "/v1/topics", r#"{"name":"x"}"#).await;
    let _made = house.ask("POST", "/v1/namespaces", r#"{"name":"x","quota":{"topics":1}}"#).await;
    join(&house.caller(), "x", b"").await;
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path_there = path.replace("{name}", "x").replace("{id}", "x");
        let schema =
            &operations["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_object() {
            let (status, answer) = house.ask("GET", &path_there, "").await;
            assert_eq!(status, 200, "{path}");
            check_schema(&document, schema, &answer, path);
            checked += 1;
        }
    }
    assert_eq!(checked, 10);
}

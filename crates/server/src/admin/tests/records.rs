//! Records that come in as JSON.

use bytes::Bytes;
use sabir_broker::batch::records::records;
use sabir_broker::fetch::Found;
use serde_json::json;

use super::*;

impl House {
    async fn with_topic(name: &str, settings: Value) -> House {
        let house = House::new(name);
        let body = json!({"name": "t", "partitions": 3, "settings": settings}).to_string();
        assert_eq!(house.ask("POST", "/v1/topics", &body).await.0, 201);
        house
    }

    async fn publish(&self, body: &Value) -> (u16, Value) {
        self.ask("POST", "/v1/topics/t/records", &body.to_string()).await
    }

    /// Key, value, headers and timestamp of all records of a partition, and the batches.
    fn read(&self, partition: usize) -> (Vec<Value>, usize) {
        let caller = self.caller();
        let topic = caller.topic("t").unwrap();
        let found = caller.fetch(&topic.partitions[partition], 0, 1 << 30, true, &Waker::none());
        let batches = match found.found {
            Found::Batches(batches) => batches,
            other => panic!("{other:?}"),
        };
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.escape_ascii().to_string());
        let mut rows = Vec::new();
        for batch in &batches {
            for record in &records(batch).unwrap() {
                let record = record.unwrap();
                let headers = record.headers.iter();
                let headers: Vec<_> =
                    headers.map(|(name, value)| json!([text(Some(name)), text(value)])).collect();
                let (key, value) = (text(record.key), text(record.value));
                rows.push(json!([key, value, headers, record.timestamp]));
            }
        }
        (rows, batches.len())
    }
}

#[tokio::test]
async fn records_are_readable_once_they_are_answered() {
    let house = House::with_topic("records", json!({})).await;
    let body = json!({"records": [
        {"key": "k", "value": "one", "partition": 1, "timestamp_ms": 5},
        {"key_base64": "/w==", "value_base64": "AAE=", "partition": 1, "timestamp_ms": 6},
        {"partition": 2, "timestamp_ms": 7},
        {"value": "", "partition": 1, "timestamp_ms": 4, "headers": [
            {"name": "h", "value": "ü"}, {"name": "h"}, {"name": "", "value_base64": "/w=="},
        ]},
    ]});
    let (status, answer) = house.publish(&body).await;
    let place = |partition, offset| json!({"partition": partition, "offset": offset});
    let places = [place(1, 0), place(1, 1), place(2, 0), place(1, 2)];
    assert_eq!((status, &answer), (200, &json!({"records": places})));
    let headers = json!([["h", "\\xc3\\xbc"], ["h", null], ["", "\\xff"]]);
    let rows =
        json!([["k", "one", [], 5], ["\\xff", "\\x00\\x01", [], 6], [null, "", headers, 4],]);
    assert_eq!(house.read(1), (rows.as_array().unwrap().clone(), 1), "one batch");
    assert_eq!(house.read(2), (vec![json!([null, null, [], 7])], 1));
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    check_schema(&document, &reference("Publish"), &body, "request");
    check_schema(&document, &reference("Published"), &answer, "answer");
}

#[tokio::test]
async fn the_partition_is_chosen_by_key_or_in_turn() {
    let house = House::with_topic("chosen", json!({})).await;
    let chosen = async |records: Value| {
        let (status, answer) = house.publish(&json!({"records": records})).await;
        assert_eq!(status, 200, "{answer}");
        let places = answer["records"].as_array().unwrap().clone();
        places.iter().map(|place| place["partition"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    // The hashes of these keys are known from another client; 3 partitions.
    let wants = [("21", -973_932_308_i32), ("foobar", -790_332_482), ("abc", 479_470_107)];
    for (key, hash) in wants {
        let want = u64::from(hash.cast_unsigned() & 0x7fff_ffff) % 3;
        assert_eq!(chosen(json!([{"key": key}, {"key": key}])).await, [want, want], "{key}");
    }
    let first = chosen(json!([{"value": "a"}, {"value": "b"}])).await;
    assert_eq!(first[0], first[1], "a request without keys stays together");
    let second = chosen(json!([{"value": "c"}])).await;
    assert_eq!(second[0], (first[0] + 1) % 3);
}

#[tokio::test]
async fn what_the_topic_does_not_take_is_refused_whole() {
    let house = House::with_topic("refused", json!({"message_bytes_max": 200})).await;
    let good = json!({"value": "good", "partition": 0});
    let later = i64::MAX;
    let cases = [
        (json!({"records": []}), 400, "there are no records"),
        (json!({"records": [good, {"partition": 3}]}), 404, "record 1: no partition 3"),
        (json!({"records": [good, {"key": "a", "key_base64": ""}]}), 400, "record 1: key: both"),
        (json!({"records": [{"value_base64": "a"}]}), 400, "record 0: value: not base64"),
        (json!({"records": [{"timestamp_ms": later}]}), 400, "record 0: the timestamp is out"),
        (json!({"records": [{"timestamp_ms": -2}]}), 400, "record 0: the timestamp is out"),
        (json!({"records": [{"value": "x".repeat(200)}]}), 413, "record 0: the record takes"),
        (json!({"records": [{"teapot": 1}]}), 422, "Failed to deserialize"),
        (json!({"records": vec![json!({}); 1001]}), 422, "Failed to deserialize"),
    ];
    for (body, want, why) in cases {
        let (status, answer) = house.publish(&body).await;
        assert_eq!(status, want, "{answer}");
        assert!(message(&answer).starts_with(why), "{answer}");
    }
    let topic = house.caller().topic("t").unwrap();
    assert!(topic.partitions.iter().all(|partition| partition.view.visible() == 0));
    let (status, _) = house.ask("POST", "/v1/topics/none/records", r#"{"records":[{}]}"#).await;
    assert_eq!(status, 404);
    let large = json!({"records": [{"value": "x".repeat(9 << 20)}]});
    let (status, answer) = house.publish(&large).await;
    assert_eq!((status, &answer["error"]["kind"]), (413, &"too_large".into()));
}

#[tokio::test]
async fn more_than_the_stage_takes_comes_in_all_the_same() {
    let house = House::with_topic("more", json!({})).await;
    let value = Bytes::from(vec![b'x'; 700_000]);
    let record = json!({"value": std::str::from_utf8(&value).unwrap(), "partition": 0});
    let (status, answer) = house.publish(&json!({"records": vec![record; 11]})).await;
    assert_eq!(status, 200, "{answer}");
    let offsets: Vec<_> = answer["records"].as_array().unwrap().iter().collect();
    let offsets: Vec<_> = offsets.iter().map(|place| place["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, (0..11).collect::<Vec<_>>());
    assert_eq!(house.read(0).0.len(), 11);
}

//! The JSON of records, and how much of it one request may hold: counted while it is read, so that
//! a small body cannot become large in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Records in one request.
pub const RECORDS_MAX: usize = 1000;
/// Headers of one record.
pub const HEADERS_MAX: usize = 100;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    #[serde(deserialize_with = "at_most::<_, _, RECORDS_MAX>")]
    pub records: Vec<Record>,
}

/// A record: key and value as text, or, where they are none, in base64.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// Neither form = a record without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "at_most::<_, _, HEADERS_MAX>")]
    pub headers: Vec<Header>,
    /// Absent = by the key; without one the records of a request share a partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Milliseconds since 1970; absent = now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// One for each record, in the order of the request.
    pub records: Vec<Place>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub partition: u32,
    pub offset: i64,
}

fn at_most<'de, D, T, const N: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(AtMost::<T, N>(PhantomData))
}

struct AtMost<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for AtMost<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {N}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut found = Vec::new();
        while let Some(next) = list.next_element()? {
            if found.len() == N {
                return Err(A::Error::invalid_length(N + 1, &self));
            }
            found.push(next);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_refused_while_they_are_read() {
        let list = |count: usize, one: &str| format!("[{}]", vec![one; count].join(","));
        let records = |count| format!(r#"{{"records":{}}}"#, list(count, "{}"));
        let headers = |count| {
            let headers = list(count, r#"{"name":"a"}"#);
            format!(r#"{{"records":[{{"headers":{headers}}}]}}"#)
        };
        let check = |text: &str, most: usize| match serde_json::from_str::<Publish>(text) {
            Ok(_) => assert_eq!(most, 0),
            Err(error) => {
                let want = format!("expected a list of at most {most} at line");
                assert!(error.to_string().contains(&want), "{error}");
            }
        };
        check(&records(RECORDS_MAX), 0);
        check(&records(RECORDS_MAX + 1), RECORDS_MAX);
        check(&headers(HEADERS_MAX), 0);
        check(&headers(HEADERS_MAX + 1), HEADERS_MAX);
    }
}

//! Keeps web pages out while there are no logins: a browser on this machine would send what any
//! page makes it send. A page that has its own name resolved to 127.0.0.1 is known by its Host,
//! any other page by its Origin.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::refuse;

pub async fn check(request: Request, next: Next) -> Response {
    match refusal(request.headers(), request.uri().authority()) {
        None => next.run(request).await,
        Some(message) => refuse(StatusCode::FORBIDDEN, "denied", message),
    }
}

fn refusal(headers: &HeaderMap, in_uri: Option<&Authority>) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    // A request that names its authority in the URI must say the same in Host.
    let agrees = in_uri.is_none_or(|authority| Some(authority.as_str()) == host);
    let Some(host) = host.filter(|host| agrees && is_loopback(host)) else {
        return Some("the Host header has to be a loopback name or address");
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let own = |origin: &str| origin.strip_prefix("http://").is_some_and(|name| name == host);
    let foreign = origins.any(|origin| !origin.to_str().is_ok_and(own));
    foreign.then_some("requests of web pages of other origins are refused")
}

/// True for localhost, 127.0.0.0/8 and `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &[&str], origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, host.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        refusal(&headers, None).is_some()
    }

    #[test]
    fn only_names_of_this_machine() {
        let own = ["localhost", "LOCALHOST:15672", "127.0.0.1:1", "127.9.9.9", "[::1]:15672"];
        for host in own {
            assert!(!refused(&[host], None), "{host}");
        }
        let foreign = [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com:80",
            "10.0.0.1",
            "0.0.0.0:15672",
            "[::]:1",
            "user@localhost",
            "localhost@example.com",
            "2130706433",
            "127.1",
            "localhost, example.com",
        ];
        for host in foreign {
            assert!(refused(&[host], None), "{host}");
        }
        assert!(refused(&[], None));
        assert!(refused(&["localhost", "localhost"], None));
    }

    #[test]
    fn only_its_own_origin() {
        let host = "localhost:15672";
        assert!(!refused(&[host], Some("http://localhost:15672")));
        let foreign = [
            "null",
            "http://example.com",
            "https://localhost:15672",
            "http://localhost:8080",
            "http://localhost",
            "http://127.0.0.1:15672",
            "http://localhost:15672.example.com",
        ];
        for origin in foreign {
            assert!(refused(&[host], Some(origin)), "{origin}");
        }
    }

    #[test]
    fn the_name_in_the_uri_has_to_agree() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost:1".parse().unwrap());
        let authority = |text: &str| text.parse::<Authority>().unwrap();
        assert!(refusal(&headers, Some(&authority("localhost:1"))).is_none());
        assert!(refusal(&headers, Some(&authority("example.com"))).is_some());
    }
}

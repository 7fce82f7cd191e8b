//! A small HTTP client for the admin API: one request, one connection, no TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sabir_broker::namespace::DEFAULT_NAME;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::shapes::Failure;
use crate::base64;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(35);
/// Largest answer that is taken.
const BODY_BYTES_MAX: u64 = 256 << 20;
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// Where the server is and who asks.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Admin address of the server.
    #[arg(long, global = true, env = "SABIR_SERVER", default_value = "http://127.0.0.1:15672")]
    server: String,
    /// User to log in as.
    #[arg(long, global = true, env = "SABIR_USER")]
    user: Option<String>,
    /// Their password. On a command line others can read it; the environment is better.
    #[arg(long, global = true, env = "SABIR_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Whose topics and groups are meant.
#[derive(Clone, Debug, Args)]
pub struct InNamespace {
    /// The namespace that is meant.
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_NAME)]
    namespace: String,
}

impl InNamespace {
    /// The path with what names the namespace.
    pub fn path(&self, path: &str) -> String {
        match self.namespace.as_str() {
            DEFAULT_NAME => path.to_owned(),
            name => format!("{path}?namespace={}", escape(name)),
        }
    }
}

/// An answer of the server.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl ServerArgs {
    /// Asks and returns the answer's JSON; null where there is none.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<serde_json::Value> {
        let body = match body {
            Some(body) => serde_json::to_vec(body)?,
            None => Vec::new(),
        };
        let answer = self.exchange(method, path, &body)?;
        if answer.status >= 400 {
            let failure = serde_json::from_slice::<Failure>(&answer.body);
            let Ok(Failure { error }) = failure else {
                bail!("{} answered with status {}", self.server, answer.status);
            };
            bail!("{} ({})", error.message, error.kind);
        }
        if answer.body.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&answer.body)
            .with_context(|| format!("{} did not answer with JSON", self.server))
    }

    /// Asks, and shows the answer: as it came with `--json`, else by `show`.
    pub fn show<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
        show: impl FnOnce(T) -> String,
    ) -> Result<()> {
        let answer = self.ask(method, path, body)?;
        if self.json {
            println!("{answer:#}");
        } else {
            let answer = serde_json::from_value(answer)
                .context("the server's answer has another form than this version knows")?;
            print!("{}", show(answer));
        }
        Ok(())
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let authority = self.server.strip_prefix("http://").ok_or_else(|| {
            anyhow!("expected http://HOST:PORT as the server, found {:?}", self.server)
        })?;
        let authority = authority.trim_end_matches('/');
        let at = match authority.parse::<axum::http::uri::Authority>() {
            Ok(parsed) if parsed.port().is_none() => format!("{authority}:80"),
            Ok(_) => authority.to_owned(),
            Err(_) => bail!("expected http://HOST:PORT as the server, found {:?}", self.server),
        };
        let stream = connect(&at).with_context(|| format!("cannot reach {}", self.server))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let length = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n"
        );
        if let Some(user) = &self.user {
            let password = self.password.as_deref().unwrap_or("");
            let login = base64::encode(format!("{user}:{password}").as_bytes());
            request += &format!("authorization: Basic {login}\r\n");
        }
        request += "\r\n";
        (&stream).write_all(&[request.as_bytes(), body].concat())?;
        read_answer(&mut BufReader::new(stream))
            .with_context(|| format!("no answer from {}", self.server))
    }
}

fn connect(at: &str) -> Result<TcpStream> {
    let mut last = anyhow!("the name has no address");
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn read_answer(from: &mut impl BufRead) -> Result<Answer> {
    let mut head = from.take(HEAD_BYTES_MAX);
    let first = line(&mut head)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| anyhow!("not an HTTP answer: {first:?}"))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let header = line(&mut head)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse()?),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    match (chunked, length) {
        (true, _) => read_chunks(from, &mut body)?,
        (false, Some(length)) => take(from, length, &mut body)?,
        (false, None) => _ = from.take(BODY_BYTES_MAX).read_to_end(&mut body)?,
    }
    Ok(Answer { status, body })
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let size = line(&mut from.take(HEAD_BYTES_MAX))?;
        let digits = size.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(digits, 16)?;
        if size == 0 {
            return Ok(());
        }
        take(from, size, body)?;
        line(&mut from.take(2))?;
    }
}

fn take(from: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<()> {
    if body.len() as u64 + length > BODY_BYTES_MAX {
        bail!("the answer is larger than {BODY_BYTES_MAX} bytes");
    }
    if from.take(length).read_to_end(body)? as u64 != length {
        bail!("the connection ended in the middle of the answer");
    }
    Ok(())
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.trim_end_matches('\r').to_owned()),
        None => bail!("the connection ended in the middle of the answer"),
    }
}

/// A name as part of a path (RFC 3986, section 2.3: what need not be escaped).
pub fn escape(name: &str) -> String {
    name.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            other => path.push_str(&format!("%{other:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u16, String), String> {
        let answer = read_answer(&mut text.as_bytes()).map_err(|error| format!("{error:#}"))?;
        Ok((answer.status, String::from_utf8(answer.body).unwrap()))
    }

    #[test]
    fn reads_every_form_of_body() {
        let ok = |status, body: &str| Ok((status, body.to_owned()));
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n"), ok(204, ""));
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\nto the end"), ok(200, "to the end"));
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), ok(200, "ab"));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(read(chunked), ok(200, "abc0123456789"));
    }

    #[test]
    fn says_what_is_wrong_with_an_answer() {
        let cut = || Err("the connection ended in the middle of the answer".to_owned());
        assert_eq!(read(""), cut());
        assert_eq!(read("HTTP/1.1 200 OK\r\n"), cut());
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"), cut());
        assert_eq!(read("SSH-2.0-x\r\n"), Err("not an HTTP answer: \"SSH-2.0-x\"".to_owned()));
        let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", u64::MAX / 2);
        assert_eq!(read(&huge), Err("the answer is larger than 268435456 bytes".to_owned()));
    }

    #[test]
    fn encodes_names() {
        assert_eq!(escape("a.b-c_d/e f?"), "a.b-c_d%2Fe%20f%3F");
    }
}

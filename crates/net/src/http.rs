//! HTTP/1.1 for call protocols and the admin API: connections with the same limits, deadlines
//! and drain as streams. No route and no handler is known here.

use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener as Socket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::bell::Bell;
use crate::connection::Peer;
use crate::counters::Counters;
use crate::listener::{Listener, Member, Parts, Shared};

/// From the first byte that could come to the last of a request's head. It also ends connections
/// that are kept alive and say nothing.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// A request's head, and what is read ahead of a body.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// Accepts connections and answers their requests by `router`. Must be called within the
/// runtime.
pub fn start(sockets: Vec<Socket>, parts: Parts, router: Router) -> io::Result<Listener> {
    Listener::spawn(sockets, parts, move |stream, peer, shared, pass| {
        let router = router.clone();
        tokio::spawn(async move {
            serve(stream, peer, shared, router).await;
            drop(pass);
        });
    })
}

async fn serve(stream: TcpStream, peer: Peer, shared: Arc<Shared>, router: Router) {
    let bell = Bell::new();
    let _member = Member::enter(&shared, bell.waker());
    let stream = Counted { stream, counters: shared.counters.clone() };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let mut draining = false;
    let end = poll_fn(|cx| {
        bell.poll(cx);
        if shared.drains() && !std::mem::replace(&mut draining, true) {
            connection.as_mut().graceful_shutdown();
        }
        // After a panic the connection is dropped, whatever state it is in.
        match catch_unwind(AssertUnwindSafe(|| connection.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    let (listener, peer) = (&*shared.name, peer.remote);
    match end.await {
        Ok(Ok(())) => tracing::debug!(listener, %peer, "connection closed"),
        Ok(Err(error)) => tracing::debug!(listener, %peer, %error, "connection lost"),
        // What it said, and where, the process's panic hook has told.
        Err(_) => {
            shared.counters.panics.add(1);
            let reason = "a bug in a request handler";
            tracing::info!(listener, %peer, reason, "connection closed");
        }
    }
}

/// A socket whose bytes are counted.
struct Counted {
    stream: TcpStream,
    counters: Arc<Counters>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        self.counters.bytes_in.add((into.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.counters.bytes_out.add(count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.counters.bytes_out.add(count as u64);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

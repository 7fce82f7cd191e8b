//! One client's connection: requests go out numbered, answers come back in the same order.

use std::collections::VecDeque;

use bytes::Bytes;
use sabir_kafka::codec::{Message, Reader, ResponseHeader, frame_request};
use sabir_net::connection::Protocol;

use crate::net::{ConnId, Net};
use crate::workload::Ctx;

/// A connection, or none; `T` is what the client wants to remember with each request.
pub struct Link<T> {
    conn: Option<ConnId>,
    /// The life of the broker that it leads to.
    life: u64,
    correlation: i32,
    pending: VecDeque<Pending<T>>,
}

struct Pending<T> {
    correlation: i32,
    version: i16,
    tag: T,
}

/// An answer to be decoded as the message that the tag says.
pub struct Answer<T> {
    pub tag: T,
    /// Of the broker that gave it.
    pub life: u64,
    version: i16,
    frame: Bytes,
}

impl<T> Default for Link<T> {
    fn default() -> Link<T> {
        Link { conn: None, life: 0, correlation: 0, pending: VecDeque::new() }
    }
}

impl<T> Link<T> {
    pub fn is_open(&self) -> bool {
        self.conn.is_some()
    }

    /// Requests that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Connects if the broker is up.
    pub fn connect(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some(life) = ctx.life else { return false };
        self.life = ctx.lives;
        self.conn = Some(ctx.net.connect(&life.kafka as &dyn Protocol, ctx.now));
        true
    }

    /// Sends a request; one that gets no answer has no tag.
    pub fn send<'m, M: Message<'m>>(
        &mut self,
        net: &mut Net,
        version: i16,
        message: &M,
        tag: Option<T>,
    ) {
        let Some(conn) = self.conn else { return };
        self.correlation += 1;
        let chunks = frame_request(self.correlation, Some("sim"), version, message)
            .expect("the workload makes requests that can be written");
        chunks.iter().for_each(|chunk| net.send(conn, chunk));
        if let Some(tag) = tag {
            self.pending.push_back(Pending { correlation: self.correlation, version, tag });
        }
    }

    /// Sends bytes that may be anything.
    pub fn send_raw(&mut self, net: &mut Net, bytes: &[u8]) {
        if let Some(conn) = self.conn {
            net.send(conn, bytes);
        }
    }

    /// The next answer, if it is there; an error if it is nobody's.
    pub fn receive(&mut self, net: &mut Net) -> Result<Option<Answer<T>>, String> {
        let Some(frame) = self.conn.and_then(|conn| net.receive(conn)) else { return Ok(None) };
        let pending = self.pending.pop_front().ok_or("an answer that nobody asked for")?;
        let correlation = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
        if correlation != Some(pending.correlation) {
            let want = pending.correlation;
            return Err(format!("an answer to {correlation:?} where {want} is the next"));
        }
        Ok(Some(Answer { tag: pending.tag, life: self.life, version: pending.version, frame }))
    }

    /// If the connection is over: closes it and returns what was never answered.
    pub fn lost(&mut self, net: &mut Net) -> Option<Vec<T>> {
        let conn = self.conn.filter(|conn| net.is_over(*conn))?;
        net.forget(conn);
        self.conn = None;
        Some(self.pending.drain(..).map(|pending| pending.tag).collect())
    }

    /// The client's side breaks; what was asked is never answered.
    pub fn hang_up(&mut self, net: &mut Net) -> Vec<T> {
        if let Some(conn) = self.conn.take() {
            net.forget(conn);
        }
        self.pending.drain(..).map(|pending| pending.tag).collect()
    }
}

impl<T> Answer<T> {
    pub fn decode<'a, M: Message<'a>>(&'a self) -> Result<M, String> {
        let name = M::KEY.name();
        let mut reader = Reader::new(&self.frame);
        let fail = |error| format!("{name} version {}: {error}", self.version);
        ResponseHeader::read(&mut reader, M::KEY.response_header_version(self.version))
            .map_err(fail)?;
        let message = M::decode(&mut reader, self.version).map_err(fail)?;
        reader.finish().map_err(fail)?;
        Ok(message)
    }
}

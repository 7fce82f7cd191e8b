//! One Kafka connection: frames in, responses out in the order of the requests. A response leaves
//! when what it rests on is durable; the next request is read meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Instant, Now};
use sabir_broker::random::Random;
use sabir_broker::ticket::Ticket;
use sabir_broker::wake::Waker;
use sabir_net::connection::{Close, Connection, Peer, Step};

use crate::api::ApiKey;
use crate::codec::{Message, RequestHeader, frame_held_response_into};
use crate::error_code::ErrorCode;
use crate::replies::{Replies, Reply};
use crate::request::{self, Outcome, Waiting};
use crate::session::Sessions;
use crate::settings::Settings;

/// Bytes that one turn works through at most.
const TURN_BYTES: usize = 256 << 10;
/// Bytes of the length before each frame.
const PREFIX: usize = 4;

/// The numbers at the front of a request.
#[derive(Clone, Debug)]
pub struct Head {
    pub key: ApiKey,
    pub version: i16,
    pub correlation: i32,
    pub client_id: Option<Arc<str>>,
}

/// What a request may use.
pub struct Context<'a> {
    pub caller: &'a Caller,
    pub settings: &'a Settings,
    pub peer: &'a Peer,
    pub sessions: &'a mut Sessions,
    pub now: Now,
    pub random: &'a mut dyn Random,
    pub me: &'a Waker,
    pub buffer: &'a mut BytesMut,
    /// How the client called itself last.
    pub client: &'a mut Option<Arc<str>>,
}

impl Context<'_> {
    /// What an answer with these error codes rests on: that a topic is not there may be news of a
    /// deletion that is not kept yet.
    pub fn ticket_of(&self, codes: impl IntoIterator<Item = i16>) -> Ticket {
        let unknown = [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId];
        let tells = codes.into_iter().any(|code| unknown.iter().any(|u| u.number() == code));
        if tells { self.caller.catalog_ticket() } else { Ticket::DONE }
    }

    /// The name that a request gives its client: nearly always the same, and then shared.
    pub fn client_id(&mut self, name: Option<&str>) -> Option<Arc<str>> {
        if self.client.as_deref() != name {
            *self.client = name.map(Into::into);
        }
        self.client.clone()
    }

    /// Encodes a response that may leave once `ticket` is reached.
    pub fn reply<'m, M: Message<'m>>(
        &mut self,
        head: &Head,
        message: &M,
        ticket: Ticket,
    ) -> Result<Reply, Close> {
        let hold = self.caller.hold(self.now).as_nanos().div_ceil(1_000_000);
        let front = (head.correlation, i32::try_from(hold).unwrap_or(i32::MAX));
        let splices = frame_held_response_into(self.buffer, front, head.version, message);
        let splices = splices.map_err(|error| {
            Close::because(format!("{} cannot be answered: {error}", head.key.name()))
        })?;
        Ok(Reply { ticket, len: self.buffer.len(), splices })
    }
}

/// The machine behind one socket.
pub struct KafkaConnection {
    settings: Arc<Settings>,
    peer: Peer,
    caller: Caller,
    sessions: Sessions,
    replies: Replies,
    /// The last request, when it cannot be answered yet: nothing is read behind it.
    waiting: Option<Box<dyn Waiting>>,
    /// The ticket that this connection was last registered for.
    registered: Ticket,
    buffer: BytesMut,
    client: Option<Arc<str>>,
    expects: usize,
    deadline: Instant,
    heard: bool,
    /// Nothing is read until then, for what the client has used (KIP-219).
    muted: Option<Instant>,
    /// Why it may not be here.
    unwelcome: Option<Close>,
}

impl KafkaConnection {
    pub fn new(
        settings: Arc<Settings>,
        peer: Peer,
        mut caller: Caller,
        now: Now,
    ) -> KafkaConnection {
        let unwelcome = caller.sit_down().err().map(|error| Close::because(error.to_string()));
        let patience = if unwelcome.is_none() { settings.first_byte } else { Duration::ZERO };
        KafkaConnection {
            deadline: now.mono + patience,
            settings,
            peer,
            caller,
            sessions: Sessions::default(),
            replies: Replies::default(),
            waiting: None,
            registered: Ticket::DONE,
            buffer: BytesMut::new(),
            client: None,
            expects: 0,
            heard: false,
            muted: None,
            unwelcome,
        }
    }

    /// The length of the frame at the front, once it is known and allowed.
    fn frame_len(&self, input: &BytesMut) -> Result<Option<usize>, Close> {
        let Some(prefix) = input.first_chunk::<PREFIX>() else { return Ok(None) };
        let len = i32::from_be_bytes(*prefix);
        let max = self.settings.request_bytes_max;
        match usize::try_from(len) {
            Ok(len) if len <= max => {}
            _ => return Err(Close::because(format!("a request of {len} bytes, not 0 to {max}"))),
        }
        // The key is known before the rest arrives: what is not served gets no memory.
        if let Some(front) = input.get(PREFIX..PREFIX + 8)
            && let Ok((key, version, _)) = RequestHeader::peek(front)
        {
            request::known(key, version)?;
        }
        Ok(Some(PREFIX + len.unsigned_abs() as usize))
    }

    fn on_request(&mut self, frame: Bytes, step: &mut Step<'_>) -> Result<(), Close> {
        let KafkaConnection { settings, peer, caller, sessions, buffer, client, .. } = self;
        let mut context = Context {
            caller,
            settings,
            peer,
            sessions,
            now: step.now,
            random: step.random,
            me: step.me,
            buffer,
            client,
        };
        context.caller.request(step.now);
        match request::handle(&mut context, frame)? {
            Outcome::Reply(reply) => self.replies.push(reply, &mut self.buffer),
            Outcome::Wait(waiting) => self.waiting = Some(waiting),
            Outcome::Silent => {}
        }
        self.mute(step.now);
        Ok(())
    }

    /// Reads nothing while the client is held back. What it is told in a response counts from here
    /// on, and so does this.
    fn mute(&mut self, now: Now) {
        let until = self.caller.held_until();
        self.muted = (until > now.mono).then_some(until);
    }

    /// Asks the waiting request again.
    fn ask_again(&mut self, step: &mut Step<'_>) -> Result<(), Close> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(()) };
        let KafkaConnection { settings, peer, caller, sessions, buffer, client, .. } = self;
        let mut context = Context {
            caller,
            settings,
            peer,
            sessions,
            now: step.now,
            random: step.random,
            me: step.me,
            buffer,
            client,
        };
        match waiting.poll(&mut context)? {
            Some(Outcome::Reply(reply)) => self.replies.push(reply, &mut self.buffer),
            Some(Outcome::Silent) => {}
            Some(Outcome::Wait(next)) => self.waiting = Some(next),
            None => self.waiting = Some(waiting),
        }
        self.mute(step.now);
        Ok(())
    }

    /// Sends every response whose ticket is reached, in order.
    fn send(&mut self, step: &mut Step<'_>) {
        self.replies.send(step.out, |ticket| self.caller.is_kept(ticket));
        // Appends wake their connection by themselves; a reply that rests on something older, or
        // on somebody else's effect, has to ask for it.
        if let Some(first) = self.replies.first()
            && self.registered != first
        {
            self.registered = first;
            self.caller.wait(first, step.me);
        }
    }
}

impl Connection for KafkaConnection {
    fn on_bytes(&mut self, input: &mut BytesMut, step: &mut Step<'_>) -> Result<(), Close> {
        if let Some(close) = &self.unwelcome {
            return Err(close.clone());
        }
        let mut done = 0;
        self.expects = 0;
        while self.reads() && done < TURN_BYTES && !step.out.is_full() {
            let Some(len) = self.frame_len(input)? else { break };
            if input.len() < len {
                self.expects = len;
                break;
            }
            let mut frame = input.split_to(len).freeze();
            done += len;
            self.on_request(frame.split_off(PREFIX), step)?;
            self.send(step);
        }
        let half = !input.is_empty() && self.reads();
        // A frame that has begun keeps its deadline however slowly it drips in.
        if !half || done > 0 || !self.heard {
            let wait = if half { self.settings.frame } else { self.settings.idle };
            self.deadline = step.now.mono + wait;
        }
        self.heard = half;
        Ok(())
    }

    fn on_wake(&mut self, step: &mut Step<'_>) -> Result<(), Close> {
        if let Some(close) = &self.unwelcome {
            return Err(close.clone());
        }
        let was_muted = self.muted.is_some();
        self.mute(step.now);
        self.ask_again(step)?;
        self.send(step);
        // What could not be read is not late.
        let answering = was_muted || self.waiting.is_some() || !self.replies.is_empty();
        if !answering && step.now.mono >= self.deadline {
            return Err(Close::because("no whole request in time"));
        }
        if answering {
            self.deadline = self.deadline.max(step.now.mono + self.settings.frame);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let waiting = self.waiting.as_ref().and_then(|waiting| waiting.deadline());
        [waiting, self.muted].into_iter().flatten().chain([self.deadline]).min()
    }

    fn reads(&self) -> bool {
        self.waiting.is_none()
            && self.muted.is_none()
            && self.replies.len() < self.settings.pipeline_max
    }

    fn expects(&self) -> usize {
        self.expects
    }

    fn is_idle(&self) -> bool {
        self.replies.is_empty() && self.waiting.as_ref().is_none_or(|waiting| waiting.may_end())
    }

    fn on_close(&mut self, step: &mut Step<'_>) {
        if let Some(waiting) = &mut self.waiting {
            waiting.cancel(&self.caller, step.me);
        }
    }
}

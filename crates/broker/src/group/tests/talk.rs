//! The interpreter of the dialogues: clients that say a line and hear what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::group::*;

/// One client of a dialogue.
#[derive(Default)]
struct Client {
    member_id: String,
    instance_id: Option<String>,
    generation: i32,
    waker: Option<Waker>,
    woken: Arc<AtomicBool>,
    join: Option<WaitId>,
    sync: Option<WaitId>,
}

pub struct Talk {
    pub group: Group,
    pub now: Now,
    clients: BTreeMap<String, Client>,
}

/// The words of one line after the verb: flags and `key=value`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn has(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str, otherwise: u32) -> u32 {
        self.get(key).map_or(otherwise, |text| text.parse().unwrap())
    }

    /// `key=a:x,b:y`
    fn pairs(&self, key: &str) -> Vec<(&'a str, &'a str)> {
        let text = self.get(key).unwrap_or("");
        text.split(',').filter(|t| !t.is_empty()).map(|t| t.split_once(':').unwrap()).collect()
    }
}

fn bytes<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a [u8])> {
    pairs.iter().map(|(a, b)| (*a, b.as_bytes())).collect()
}

pub fn topic(n: &str) -> TopicId {
    [n.as_bytes()[0]; 16]
}

impl Talk {
    pub fn new(settings: GroupSettings) -> Talk {
        let now = Now { mono: Instant(1_000_000_000), wall: 1_000_000 };
        let group = Group::create(7, "g", Arc::new(settings), now);
        Talk { group, now, clients: BTreeMap::new() }
    }

    fn client(&mut self, who: &str) -> &mut Client {
        let client = self.clients.entry(who.to_owned()).or_default();
        let woken = client.woken.clone();
        client
            .waker
            .get_or_insert_with(|| Waker::new(move || woken.store(true, Ordering::Relaxed)));
        client
    }

    /// Says one line; returns what is heard, by the speaker and by whoever is woken.
    pub fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut heard = vec![match (words[0], words.get(1).copied().unwrap_or("")) {
            (ms, "") if ms.starts_with('+') => self.pass(ms[1..].parse().unwrap()),
            ("state", "") => format!("{:?} g{}", self.group.state(), self.group.generation()),
            ("restart", "") => self.restart(),
            ("delete", "") => format!("{:?}", self.group.delete()),
            ("offsets", "") => self.offsets(),
            ("forget", topic_name) => {
                self.group.forget_topic(self.now, &topic(topic_name));
                String::new()
            }
            (who, verb) => self.act(who, verb, &Words(words[2..].to_vec())),
        }];
        self.group.take_effects();
        for waker in self.group.take_wakes() {
            waker.wake();
        }
        heard.extend(self.woken());
        heard.retain(|text| !text.is_empty());
        heard.join("; ")
    }

    fn act(&mut self, who: &str, verb: &str, words: &Words<'_>) -> String {
        match verb {
            "join" => self.join(who, words),
            "sync" => self.sync(who, words),
            "beat" => {
                let (id, instance, generation) = self.identity(who, words);
                let result = self.group.heartbeat(self.now, &id, instance.as_deref(), generation);
                format!("{result:?}")
            }
            "leave" => {
                let (id, instance, _) = self.identity(who, words);
                let id = if words.has("by-instance") { "" } else { &id };
                let leaving = LeaveMember { member_id: id, instance_id: instance.as_deref() };
                format!("{:?}", self.group.leave(self.now, &[leaving])[0])
            }
            "commit" => self.commit(who, words),
            "remove" => {
                let key = (topic(words.0[0]), 0);
                let reads = |kind: &str, metadata: &[u8], topic: &TopicId| {
                    (kind == "consumer").then(|| metadata.contains(&topic[0]))
                };
                match self.group.remove_offsets(self.now, &[key], &reads) {
                    Ok(results) => format!("{:?}", results[0]),
                    Err(error) => format!("all {error:?}"),
                }
            }
            "gone" => {
                let waker = self.client(who).waker.take().unwrap();
                self.group.gone(&waker);
                let client = self.client(who);
                (client.join, client.sync) = (None, None);
                String::new()
            }
            _ => panic!("no such verb: {verb}"),
        }
    }

    fn identity(&mut self, who: &str, words: &Words<'_>) -> (String, Option<String>, i32) {
        let client = self.client(who);
        let id = words.get("id").map_or(client.member_id.clone(), str::to_owned);
        let generation = words.get("g").map_or(client.generation, |g| g.parse().unwrap());
        let instance = words.get("inst").map(str::to_owned).or(client.instance_id.clone());
        (id, instance, generation)
    }

    fn join(&mut self, who: &str, words: &Words<'_>) -> String {
        let (now, waker) = (self.now, self.client(who).waker.clone().unwrap());
        let (mut id, instance, _) = self.identity(who, words);
        if words.has("anew") {
            id.clear();
        }
        let new_id = words.get("as").unwrap_or(who);
        let protocols = match words.get("p") {
            Some(_) => words.pairs("p"),
            None => vec![("range", "r"), ("rr", "o")],
        };
        let outcome = self.group.join(
            now,
            Join {
                member_id: &id,
                new_member_id: new_id,
                instance_id: instance.as_deref(),
                client_id: who,
                client_host: "host",
                session_timeout_ms: words.number("session", 10_000),
                rebalance_timeout_ms: words.number("rebalance", 60_000),
                protocol_type: words.get("type").unwrap_or("consumer"),
                protocols: &bytes(&protocols),
                known_member_only: words.has("known"),
                may_skip_assignment: words.has("skip"),
                waker: &waker,
            },
        );
        let client = self.client(who);
        client.instance_id = instance;
        if outcome == Outcome::Refused(GroupError::MemberIdRequired) {
            client.member_id = new_id.to_owned();
        }
        self.joined(who, outcome)
    }

    fn joined(&mut self, who: &str, outcome: JoinOutcome) -> String {
        let client = self.client(who);
        client.join = None;
        match outcome {
            Outcome::Wait(id) => {
                client.join = Some(id);
                "wait".to_owned()
            }
            Outcome::Refused(error) => format!("{error:?}"),
            Outcome::Done(reply) => {
                client.member_id = reply.member_id.to_string();
                client.generation = reply.generation;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let members = reply.members.iter().map(|m| {
                    let instance = m.instance_id.iter().map(|id| format!("!{id}"));
                    format!(" {}{}={}", m.id, instance.collect::<String>(), text(&m.metadata))
                });
                let members: String = members.collect();
                let skip = if reply.skip_assignment { " skip" } else { "" };
                let protocol = reply.protocol.unwrap();
                format!("g{} {protocol} led by {}{members}{skip}", reply.generation, reply.leader)
            }
        }
    }

    fn sync(&mut self, who: &str, words: &Words<'_>) -> String {
        let (now, waker) = (self.now, self.client(who).waker.clone().unwrap());
        let (id, instance, generation) = self.identity(who, words);
        let outcome = self.group.sync(
            now,
            Sync {
                member_id: &id,
                instance_id: instance.as_deref(),
                generation,
                protocol_type: words.get("type"),
                protocol: words.get("protocol"),
                assignments: &bytes(&words.pairs("give")),
                waker: &waker,
            },
        );
        self.synced(who, outcome)
    }

    fn synced(&mut self, who: &str, outcome: SyncOutcome) -> String {
        let client = self.client(who);
        client.sync = None;
        match outcome {
            Outcome::Wait(id) => {
                client.sync = Some(id);
                "wait".to_owned()
            }
            Outcome::Refused(error) => format!("{error:?}"),
            Outcome::Done(reply) => {
                format!("has <{}>", String::from_utf8(reply.assignment.to_vec()).unwrap())
            }
        }
    }

    fn commit(&mut self, who: &str, words: &Words<'_>) -> String {
        let (id, instance, generation) = self.identity(who, words);
        let outside = words.has("outside");
        let metadata = "m".repeat(words.number("bytes", 1) as usize);
        let offsets: Vec<_> = words
            .pairs("at")
            .iter()
            .map(|(name, offset)| OffsetCommit {
                topic: topic(name),
                partition: words.get("partition").map_or(0, |p| p.parse().unwrap()),
                offset: offset.parse().unwrap(),
                leader_epoch: -1,
                metadata: &metadata,
                expire_ms: words.get("keep").map(|ms| self.now.wall + ms.parse::<i64>().unwrap()),
            })
            .collect();
        let commit = Commit {
            member_id: if outside { "" } else { &id },
            instance_id: instance.as_deref(),
            generation: if outside { -1 } else { generation },
            offsets: &offsets,
        };
        match self.group.commit(self.now, commit) {
            Ok(results) => format!("{:?}", results[0]),
            Err(error) => format!("all {error:?}"),
        }
    }

    fn offsets(&self) -> String {
        let offsets = self.group.offsets();
        let texts = offsets.map(|(t, p, c)| format!("{}{p}:{}", char::from(t[0]), c.offset));
        texts.collect::<Vec<_>>().join(" ")
    }

    fn pass(&mut self, ms: u64) -> String {
        let end = self.now.mono + std::time::Duration::from_millis(ms);
        let mut turns = 0;
        while let Some(due) = self.group.tick(self.now).filter(|due| *due <= end) {
            assert!(due > self.now.mono, "a tick leaves nothing due");
            self.go_to(due);
            turns += 1;
            assert!(turns < 10_000, "deadlines move on");
        }
        self.go_to(end);
        self.group.tick(self.now);
        String::new()
    }

    fn go_to(&mut self, mono: Instant) {
        self.now.wall += i64::try_from(mono.since(self.now.mono).as_millis()).unwrap();
        self.now.mono = mono;
    }

    /// The group as it is after a crash, from its rows.
    fn restart(&mut self) -> String {
        let rows = self.group.image();
        self.group = properties::load(&rows, self.group.settings.clone());
        self.group.opened(self.now);
        for client in self.clients.values_mut() {
            (client.join, client.sync) = (None, None);
        }
        String::new()
    }

    fn woken(&mut self) -> Vec<String> {
        let names: Vec<String> = self.clients.keys().cloned().collect();
        let mut heard = Vec::new();
        for who in names {
            let client = self.client(&who);
            if !client.woken.swap(false, Ordering::Relaxed) {
                continue;
            }
            client.waker.as_ref().map(Waker::take);
            let (join, sync) = (client.join, client.sync);
            if let Some(id) = join {
                let outcome = self.group.poll_join(id);
                heard.push(format!("{who}: {}", self.joined(&who, outcome)));
            }
            if let Some(id) = sync {
                let outcome = self.group.poll_sync(id);
                heard.push(format!("{who}: {}", self.synced(&who, outcome)));
            }
        }
        heard
    }
}

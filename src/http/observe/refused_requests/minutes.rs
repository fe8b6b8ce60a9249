//! Sums up the refused requests of each sender for one minute.
//!
//! A sender is a key, or the network of a client without a known key. Its minute begins with the first
//! refused request. No sender is pushed out of the table: the networks of one IPv6 site (/48) have at
//! most an eighth of it, and share one minute beyond that. When the table is full, new senders share
//! one minute too.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guard::{ClientAddr, CountedClient};

const MINUTE: Duration = Duration::from_secs(60);

/// Maximum number of keys, and of networks, that have a minute of their own.
const MAX_SENDERS: usize = 1024;

/// Maximum number of networks of one IPv6 site that have a minute of their own.
const MAX_OF_SITE: usize = MAX_SENDERS / 8;

/// The sender of the requests that a minute counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sender {
    Key(Arc<str>),
    /// A network, or the whole site of one.
    Network(CountedClient),
    OtherKeys,
    OtherNetworks,
}

/// The refused requests of one sender in one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Minute {
    sender: Sender,
    count: u64,
    /// The client, the status and the reason of the last one.
    client: ClientAddr,
    status: u16,
    reason: String,
}

/// The minutes that have not ended.
#[derive(Default)]
pub(super) struct Minutes {
    open: HashMap<Sender, Minute>,
    /// The end of each open minute, the earliest first.
    ends: VecDeque<(Instant, Sender)>,
    keys: usize,
    networks: usize,
    /// Number of open minutes of each site, without its shared one.
    sites: HashMap<CountedClient, usize>,
}

impl Minutes {
    /// Counts a refused request. Returns true when no minute was open before. `now` never goes back.
    pub(super) fn add(
        &mut self,
        now: Instant,
        client: ClientAddr,
        key: Option<&str>,
        status: u16,
        reason: String,
    ) -> bool {
        let is_first = self.open.is_empty();
        let sender = match key {
            Some(key) => self.sender_of_key(key),
            None => self.sender_of_client(client),
        };
        match self.open.get_mut(&sender) {
            Some(minute) => {
                minute.count += 1;
                (minute.client, minute.status, minute.reason) = (client, status, reason);
            }
            None => {
                self.count_sender(&sender);
                self.ends.push_back((now + MINUTE, sender.clone()));
                let minute = Minute { sender: sender.clone(), count: 1, client, status, reason };
                self.open.insert(sender, minute);
            }
        }
        is_first
    }

    fn sender_of_key(&self, key: &str) -> Sender {
        let sender = Sender::Key(key.into());
        let has_place = self.keys < MAX_SENDERS || self.open.contains_key(&sender);
        if has_place { sender } else { Sender::OtherKeys }
    }

    fn sender_of_client(&self, client: ClientAddr) -> Sender {
        let network = client.counted();
        let own = Sender::Network(network);
        if self.open.contains_key(&own) {
            return own;
        }
        let full_site =
            network.site().filter(|site| self.sites.get(site).is_some_and(|count| *count >= MAX_OF_SITE));
        let sender = full_site.map_or(own, Sender::Network);
        let has_place = self.networks < MAX_SENDERS || self.open.contains_key(&sender);
        if has_place { sender } else { Sender::OtherNetworks }
    }

    fn count_sender(&mut self, sender: &Sender) {
        match sender {
            Sender::Key(_) => self.keys += 1,
            Sender::Network(network) => {
                self.networks += 1;
                if let Some(site) = network.site() {
                    *self.sites.entry(site).or_default() += 1;
                }
            }
            Sender::OtherKeys | Sender::OtherNetworks => {}
        }
    }

    /// Returns the time at which the next minute ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// Removes the minutes that have ended.
    pub(super) fn take_ended(&mut self, now: Instant) -> Vec<Minute> {
        let mut ended = Vec::new();
        while self.next_end().is_some_and(|end| end <= now) {
            let Some((_, sender)) = self.ends.pop_front() else { break };
            let Some(minute) = self.open.remove(&sender) else { continue };
            match &sender {
                Sender::Key(_) => self.keys -= 1,
                Sender::Network(network) => {
                    self.networks -= 1;
                    if let Some(site) = network.site()
                        && let Some(count) = self.sites.get_mut(&site)
                    {
                        *count -= 1;
                        if *count == 0 {
                            self.sites.remove(&site);
                        }
                    }
                }
                Sender::OtherKeys | Sender::OtherNetworks => {}
            }
            ended.push(minute);
        }
        ended
    }

    /// Removes all minutes.
    pub(super) fn take_all(&mut self) -> Vec<Minute> {
        let mut all = std::mem::take(self);
        let senders = all.ends.drain(..).map(|(_, sender)| sender);
        senders.filter_map(|sender| all.open.remove(&sender)).collect()
    }
}

impl Minute {
    /// Writes the minute to the journal.
    pub(super) fn log(&self) {
        let Self { client, sender, .. } = self;
        let text = self.text();
        match sender {
            Sender::Key(key) => {
                crate::event!(warn, REFUSED, MOCA_CLIENT:% = client, MOCA_KEY = &**key; "{text}");
            }
            Sender::Network(_) | Sender::OtherKeys | Sender::OtherNetworks => {
                crate::event!(warn, REFUSED, MOCA_CLIENT:% = client; "{text}");
            }
        }
    }

    fn text(&self) -> String {
        let Self { count, client, status, reason, .. } = self;
        let requests = if *count == 1 { "request" } else { "requests" };
        let sender = match &self.sender {
            Sender::Key(key) => format!("with the key {key}"),
            Sender::Network(network) => format!("from {network} without a known key"),
            Sender::OtherKeys => "with other keys".to_owned(),
            Sender::OtherNetworks => "from other clients without a known key".to_owned(),
        };
        format!(
            "refused {count} {requests} {sender} in a minute; the last one, from {client}: {status}, {reason}"
        )
    }
}

#[cfg(test)]
#[path = "minutes_tests.rs"]
mod tests;

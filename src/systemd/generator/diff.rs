//! Compares two plans of units.

use super::plan::Plan;
use crate::config::LogName;

/// The logs grouped by what must happen to their units, each group ordered by name.
///
/// After storing the new plan and reloading systemd, the caller first stops *all* units of
/// `removed` and the sockets of `listen`, and then starts the rest, since two logs may have swapped
/// ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Logs without a change. Their processes keep running.
    pub unchanged: Vec<LogName>,
    /// Logs with another address. The socket and the service must be restarted.
    pub listen: Vec<LogName>,
    /// Logs with other sockets beside HTTP. These sockets and the service must be restarted, and the
    /// socket of HTTP stays open.
    pub sockets: Vec<LogName>,
    /// Logs in which only the sandbox differs. The service must be restarted, and the socket stays
    /// open.
    pub service: Vec<LogName>,
    /// Logs that are new or switched on. The sockets and the service must be started.
    pub added: Vec<LogName>,
    /// Logs that are removed or switched off. The sockets and the service must be stopped.
    pub removed: Vec<LogName>,
    /// Logs with another backlog at the same address, which are in `unchanged` or `service` too.
    /// The change does not justify closing a socket. It takes effect when the socket unit starts
    /// next.
    pub backlog: Vec<LogName>,
}

impl Diff {
    /// Returns whether no unit must be started, stopped or restarted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.listen, &self.sockets, &self.service, &self.added, &self.removed]
            .into_iter()
            .all(Vec::is_empty)
    }
}

/// Returns the changes from the plan `old` to the plan `new`.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Diff {
    let mut diff = Diff::default();
    for (name, new) in &new.logs {
        let list = match old.logs.get(name) {
            None => &mut diff.added,
            Some(old) if old.listen != new.listen => &mut diff.listen,
            Some(old) => {
                if old.backlog != new.backlog {
                    diff.backlog.push(name.clone());
                }
                if old.sockets != new.sockets {
                    &mut diff.sockets
                } else if old.sandbox == new.sandbox {
                    &mut diff.unchanged
                } else {
                    &mut diff.service
                }
            }
        };
        list.push(name.clone());
    }
    diff.removed = old.logs.keys().filter(|name| !new.logs.contains_key(*name)).cloned().collect();
    diff
}

#[cfg(test)]
mod tests {
    use super::super::plan::{LogUnits, Sandbox, Sockets};
    use super::*;
    use crate::config::ListenAddress;

    fn plan(logs: &[(&str, u16, u32, bool)]) -> Plan {
        let units = |port, backlog, network| LogUnits {
            listen: ([127, 0, 0, 1], port).into(),
            backlog,
            sockets: Sockets::default(),
            sandbox: Sandbox { network, ..Sandbox::default() },
        };
        let logs = logs
            .iter()
            .map(|&(name, port, backlog, network)| (name.parse().unwrap(), units(port, backlog, network)));
        Plan { logs: logs.collect() }
    }

    #[test]
    fn logs_are_grouped_by_their_change() {
        let old = plan(&[
            ("gone", 1, 9, false),
            ("moved", 2, 9, false),
            ("opened", 3, 9, false),
            ("queue", 4, 9, false),
            ("same", 5, 9, false),
        ]);
        let new = plan(&[
            ("moved", 1, 8, true),
            ("new", 2, 9, false),
            ("opened", 3, 8, true),
            ("queue", 4, 8, false),
            ("same", 5, 9, false),
        ]);
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let expected = Diff {
            unchanged: names(&["queue", "same"]),
            listen: names(&["moved"]),
            sockets: names(&[]),
            service: names(&["opened"]),
            added: names(&["new"]),
            removed: names(&["gone"]),
            backlog: names(&["opened", "queue"]),
        };
        assert_eq!(diff(&old, &new), expected);
        assert!(!expected.is_empty());
        assert!(diff(&old, &old).is_empty());
        assert_eq!(diff(&Plan::default(), &new).added.len(), 5);
    }

    #[test]
    fn other_sockets_leave_the_socket_of_http_open() {
        let old = plan(&[("a", 1, 9, false)]);
        let mut new = old.clone();
        for units in new.logs.values_mut() {
            units.sockets.datagrams =
                vec!["udp://127.0.0.1:514"].into_iter().filter_map(ListenAddress::parse).collect();
        }
        let diff = diff(&old, &new);
        assert_eq!(diff.sockets, ["a".parse().unwrap()]);
        assert!(!diff.is_empty() && diff.listen.is_empty() && diff.service.is_empty());
    }
}

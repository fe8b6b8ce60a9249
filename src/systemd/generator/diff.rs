//! What is to be done to come from one plan to another.

use super::plan::Plan;
use crate::config::LogName;

/// Logs by what has to happen to their units, each in the order of their names.
///
/// After the new plan was stored and systemd was reloaded, first *everything* of `removed` and the sockets of `listen`
/// is stopped, then the rest is started: two logs may have swapped their ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// nothing; the process is not to be touched
    pub unchanged: Vec<LogName>,
    /// another address: the socket is restarted, and the service with it
    pub listen: Vec<LogName>,
    /// only the sandbox is another: the service is restarted, while its socket stays open
    pub service: Vec<LogName>,
    /// new or switched on: the sockets and the service are started
    pub added: Vec<LogName>,
    /// gone or switched off: the sockets and the service are stopped
    pub removed: Vec<LogName>,
    /// another accept queue at the same address: worth a word, but not a closed socket. It comes into force when the
    /// socket unit is started the next time; these logs stand in `unchanged` or `service` as well
    pub backlog: Vec<LogName>,
}

impl Diff {
    /// Whether no unit has to be started, stopped or restarted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.listen, &self.service, &self.added, &self.removed].into_iter().all(Vec::is_empty)
    }
}

/// What turns the units of `old` into those of `new`.
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
                if old.sandbox == new.sandbox { &mut diff.unchanged } else { &mut diff.service }
            }
        };
        list.push(name.clone());
    }
    diff.removed = old.logs.keys().filter(|name| !new.logs.contains_key(*name)).cloned().collect();
    diff
}

#[cfg(test)]
mod tests {
    use super::super::plan::{LogUnits, Sandbox};
    use super::*;

    fn plan(logs: &[(&str, u16, u32, bool)]) -> Plan {
        let units = |port, backlog, network| LogUnits {
            listen: ([127, 0, 0, 1], port).into(),
            backlog,
            sandbox: Sandbox { network, ..Sandbox::default() },
        };
        let logs = logs
            .iter()
            .map(|&(name, port, backlog, network)| (name.parse().unwrap(), units(port, backlog, network)));
        Plan { logs: logs.collect() }
    }

    #[test]
    fn each_log_is_where_it_belongs() {
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
}

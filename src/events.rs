//! Defines the journal events of the service. The name and the number of an event never change.
//!
//! Every layer logs an event through its constant, by [`event!`](crate::event). So the fields
//! `MOCA_EVENT` and `MESSAGE_ID` always match, and a test compares the table in `moca-file-log(8)`
//! with this one. No event is logged for each request, except [`REFUSED`] while `debug` is on, whose rate is limited.
//! Messages hold no secrets.

/// A kind of event, as programs and the journal's message catalogue know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The value of `MOCA_EVENT`: lower-case letters and `-`.
    pub name: &'static str,
    /// The value of `MESSAGE_ID`: 128 random bits in hexadecimal (sd-id128(3)).
    pub id: &'static str,
    /// The meaning of the event, for the operator.
    pub meaning: &'static str,
    /// The action that the operator should take.
    pub remedy: &'static str,
}

/// Logs an event: `event!(warn, ADDRESS_BLOCKED, MOCA_CLIENT:% = address; "{address} is blocked")`.
///
/// The first argument is a level of the `log` crate, the second a constant of
/// [`events`](crate::events). Pass `MOCA_CLIENT` (an address) and `MOCA_KEY` (the name of a key)
/// where they apply.
#[macro_export]
macro_rules! event {
    ($level:ident, $event:ident $(, $field:ident $(:$capture:tt)? = $value:expr)*; $($message:tt)+) => {
        ::log::$level!(
            MOCA_EVENT = $crate::events::$event.name,
            MESSAGE_ID = $crate::events::$event.id
            $(, $field $(:$capture)? = $value)*;
            $($message)+
        )
    };
}

macro_rules! events {
    ($($constant:ident: $name:literal, $id:literal, $meaning:literal, $remedy:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $constant: Event =
                Event { name: $name, id: $id, meaning: $meaning, remedy: $remedy };
        )+

        /// All events, in the order of the manual page.
        pub const ALL: &[Event] = &[$($constant),+];
    };
}

events! {
    STARTED: "started", "7eb92f54c5ab09610ce3a3e23ccaa4de",
        "The service serves requests.",
        "Nothing.";
    START_FAILED: "start-failed", "34f37e054480839fbe8f9d93e8e2d021",
        "The service cannot start; the message gives the reason in one line.",
        "Correct what the message names and start the service again.";
    START_WITH_LAST_GOOD: "start-with-last-good", "200c4ef719f3e5650b1daac69970135f",
        "The configuration files are invalid; the service runs with the last valid ones.",
        "Run mocactl check and correct what it names.";
    STOPPING: "stopping", "7fe730df5e27614e5a50cb651cbe3348",
        "The service accepts no new connections and answers the requests in flight.",
        "Nothing.";
    STOPPED: "stopped", "4059b6e09541c217f4e5e599967c7961",
        "Everything acknowledged is on the disk.",
        "Nothing.";
    RESTARTING: "restarting", "805b93fef382f30fa1d1295e55b9b1b2",
        "The installed program changed (auto_reload); the service stops to make room for it.",
        "Nothing.";
    RESTART_REFUSED: "restart-refused", "6cd792c70c18b0d62777b3aa3bcb7451",
        "The installed program changed, but does not print its version; the old one keeps running.",
        "Install a program that works.";
    RELOADED: "reloaded", "8a4e0f663982e14d69bf816b7c9afedd",
        "A changed configuration is in force.",
        "Nothing.";
    RELOAD_REFUSED: "reload-refused", "8f3236cbde5e032425799f77e3ea1b70",
        "A changed configuration or certificate is not valid; the last valid one stays in force.",
        "Run mocactl check and correct what it names.";
    MAINTENANCE_ON: "maintenance-on", "afb7d9574aa5075580d4ee2d869673ec",
        "Maintenance was switched on by a signal.",
        "Run mocactl turn-on when the maintenance is over.";
    MAINTENANCE_OFF: "maintenance-off", "6322f0fa2e301e5de54a73071560d188",
        "Maintenance was switched off by a signal.",
        "Nothing.";
    CLEARED: "cleared", "30d7524b484bee52c1ed9ca024d4d06b",
        "The client in MOCA_CLIENT removed all lines over HTTP.",
        "Find out who did it, if you did not.";
    UNKNOWN_KEY: "unknown-key", "14395ad228e367e8ccc54a3c390c03eb",
        "The client in MOCA_CLIENT uses a key that is not in api_key.json; logged once an hour for each client, of IPv6 for each /64.",
        "Inform the sender, or block the address.";
    CONNECTIONS_FULL: "connections-full", "f07655e71064444629809b3efe9e33c9",
        "As many connections are open as max_connections allows; the one that has been silent longest is closed for each new one; logged once a minute.",
        "See which clients hold connections (ss(8)), and set max_connections_per_ip or a higher max_connections.";
    ADDRESS_BLOCKED: "address-blocked", "4b8bbde44b14f505a577fea67db11e55",
        "An address, or a /64 of IPv6, is blocked: it sent too many requests, tried unknown keys, or the operator blocked it.",
        "Run mocactl block remove if this was a mistake.";
    ADDRESS_UNBLOCKED: "address-unblocked", "5b509a774004ef9005f31b65beed94c4",
        "The operator unblocked an address.",
        "Nothing.";
    FRAME_FLOOD: "frame-flood", "f74e13efd3894111a80b100e4ca24569",
        "An HTTP/2 connection of the client in MOCA_CLIENT sent a flood of frames and was closed; new ones of its network wait. Logged once a minute for each network, at most 10 times in all.",
        "Block the address if it goes on.";
    BLOCK_LIST_NOT_WRITTEN: "block-list-not-written", "2919bd81f3df380af35b79ade5709121",
        "The blocked addresses cannot be saved for the next start; the service tries again.",
        "Check the disk and the modes of the state directory.";
    STATE_FILE_BROKEN: "state-file-broken", "9f9590e0d1bfb69f486e464986d40e9f",
        "A state file cannot be read and was moved aside.",
        "Look at the file; the service starts without its content.";
    STATE_LOST: "state-lost", "016e34efb57a4f99803ca6f31ab3fe46",
        "Another program removed the state directory or a file in it; the service makes it again.",
        "Find out which program did it.";
    WRITE_FAILED: "write-failed", "8fdcf37a413543ac756989ceca9e4c7a",
        "The log cannot be written; senders get 503 and should retry.",
        "Free space on the disk, or replace it.";
    WRITE_RECOVERED: "write-recovered", "1c0679dc2252fcf7771f3261e1e58c5c",
        "The log can be written again.",
        "Nothing.";
    FILE_CHANGED: "file-changed", "49e7f67bd9b60f6e2c488c2b989e81a8",
        "Another program moved, deleted or truncated the log; the service starts a new file.",
        "Nothing, if this was intended.";
    LOW_SPACE: "low-space", "9f336a9475446535fbfa149ff49c2d8c",
        "The disk has less free space than min_free; senders get 503 and should retry.",
        "Free space on the disk, or keep fewer segments.";
    SPACE_AGAIN: "space-again", "c168bc90fbb82ac8ee1a9a4fcf93b79f",
        "The disk has enough free space again; records are stored.",
        "Nothing.";
    ROTATION_FAILED: "rotation-failed", "1190ef149b56c5dd79dae89b4466a3a3",
        "The log cannot be rotated, compressed or shortened as rotate requires; the service tries again.",
        "Check the disk and the modes of the folder of the log.";
    RETIRED: "retired", "553a91aa315732a06019a404f57382a4",
        "The oldest segments were removed, as keep, max_age or max_total requires.",
        "Nothing.";
    TORN_TAIL: "torn-tail", "bab220032d98b78dd951e38c3668738c",
        "A crash left an incomplete last line, which was moved to FILE.torn.",
        "Look at FILE.torn; the record was never acknowledged.";
    CLOCK_BACK: "clock-back", "52287ade394b44189dcb1dd5b4f5d603",
        "The system clock was set back by more than 10 seconds; a new file begins, so that times are true.",
        "Set the clock right, and look at the times of the records before this message.";
    CLOCK_JUMP: "clock-jump", "a560c01707e7468eba0886d725f6bc1b",
        "The system clock moved forward by more than an hour; max_age removes nothing for an hour.",
        "Check the clock; set it right before the hour is over if it is wrong.";
    HOOK_FAILED: "hook-failed", "a32ba73aa5cbc97cb27e4c01bbc73272",
        "An exit hook failed.",
        "Correct the hook.";
    REFUSED: "refused", "3da84108a668356b6165b9f65c72900b",
        "Requests of the key in MOCA_KEY, or of a client without a known key, were refused: how many in a minute, and why the last one; with debug, each refusal.",
        "Run mocactl refusals to see the latest ones, and correct the sender.";
    ACCESS_LOG_FAILING: "access-log-failing", "73fcb4256fc19bcef66210bdab2db118",
        "The access log cannot be written, or its disk is too slow; lines that exceed the memory buffer are dropped.",
        "Free space on the disk.";
    ACCESS_LOG_RECOVERED: "access-log-recovered", "7984118d086c3ed4d7de6b8cdc26ab07",
        "The access log is written again; the message gives the number of missing lines.",
        "Nothing.";
    REDIS_AWAY: "redis-away", "769b4893cd6a2595acdc7bcc2a2c1f71",
        "Redis does not answer; each instance keeps the limits in its own memory.",
        "Check the Redis server.";
    REDIS_BACK: "redis-back", "276494950f4d95787a8ee7fc7ef72f47",
        "Redis answers; the limits are shared through it.",
        "Nothing.";
    CERTIFICATES_RELOADED: "certificates-reloaded", "11185d7106897ea52d9a9f257ef833c9",
        "Changed TLS files are in force.",
        "Nothing.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_ids_are_unique_and_well_formed() {
        let names: HashSet<_> = ALL.iter().map(|event| event.name).collect();
        let ids: HashSet<_> = ALL.iter().map(|event| event.id).collect();
        assert_eq!((names.len(), ids.len()), (ALL.len(), ALL.len()));
        for event in ALL {
            assert!(event.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{event:?}");
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            assert!(event.id.len() == 32 && event.id.bytes().all(hex), "{event:?}");
        }
    }

    /// The page is written by hand in roff. Without its markup it must equal the table.
    #[test]
    fn manual_page_lists_the_same_events() {
        let page = include_str!("../packaging/man/moca-file-log.8");
        let (_, section) = page.split_once("\n.SH EVENTS\n").unwrap();
        let (section, _) = section.split_once("\n.SH ").unwrap();
        let mut lines =
            section.lines().skip_while(|line| *line != ".TP").map(|line| line.replace("\\-", "-"));
        for Event { name, id, meaning, remedy } in ALL {
            let found: Vec<_> = lines.by_ref().take(6).collect();
            let expected = [".TP", &format!(".B {name}"), id, ".br", meaning, remedy];
            assert_eq!(found, expected);
        }
        assert_eq!(lines.next(), None);
    }
}

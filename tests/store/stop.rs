//! Sends SIGTERM under load. The server exits with 0, loses no acknowledged record, and cuts no
//! request in flight without an answer.

use std::time::Duration;

use super::load::{Outcome, acknowledged, assert_kept, count, random_pause, under_load};
use crate::harness::Setup;

fn stop_under_load(durability: &str) {
    let mut server = Setup::new().durability(durability).start();
    let mut all = Vec::new();
    for round in 0..4 {
        let pause = random_pause(100, 300);
        let (sent, status) = under_load(&mut server, 16, &format!("round{round}"), |server| {
            std::thread::sleep(pause);
            server.stop()
        });
        assert_eq!(status.code(), Some(0), "{status}\n{}", server.stderr());
        let counts = count(&server.log_lines());
        for record in sent.iter().flatten() {
            let stored = counts.contains_key(&record.id);
            // A request that crossed the close of an idle connection was not read, so it may lack
            // an answer. A request whose record is stored was read.
            assert_ne!(record.outcome, Outcome::Cut, "{} has half an answer", record.id);
            if record.outcome == Outcome::Unanswered {
                assert!(!stored, "{} was in flight and got no answer", record.id);
            }
            if let Outcome::Refused(code) = record.outcome {
                assert_eq!(code, 503, "{}", record.id);
            }
        }
        all.extend(sent);
        assert_kept(&server.log_lines(), &all);
        server.respawn();
    }
    assert!(acknowledged(&all) > 400, "too few records were sent: {}", acknowledged(&all));
}

#[test]
fn stop_under_load_answers_all_with_durability_disk() {
    stop_under_load("disk");
}

#[test]
fn stop_under_load_answers_all_with_durability_os() {
    stop_under_load("os");
}

#[test]
fn record_survives_a_stop_right_after_its_answer() {
    for durability in ["disk", "os"] {
        let mut server = Setup::new().durability(durability).start();
        for round in 0..5 {
            server.save(&format!("{round}"));
            assert!(server.stop().success());
            assert_eq!(server.messages().last(), Some(&round.to_string()));
            server.respawn();
        }
    }
}

#[test]
fn server_is_ready_quickly() {
    let server = Setup::new().start();
    let limit = Duration::from_millis(500) * crate::harness::slowness();
    assert!(server.ready_after() < limit, "{:?}", server.ready_after());
}

//! Kills the process at random moments under load. Every acknowledged record must be in the file,
//! once and whole.

use serde_json::{Value, json};

use super::load::{acknowledged, assert_kept, count, random_pause, under_load};
use crate::harness::{Conn, KEY, Line, Setup, route};

const SENDERS: usize = 16;
const ROUNDS: usize = 20;

fn kill_rounds(durability: &str) {
    let mut server = Setup::new().durability(durability).start();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let pause = random_pause(20, 300);
        let (sent, ()) = under_load(&mut server, SENDERS, &format!("round{round}"), |server| {
            std::thread::sleep(pause);
            server.kill9();
        });
        all.extend(sent);
        // The start must succeed in the same directory, in any state that the crash left.
        server.respawn();
        assert_kept(&server.log_lines(), &all);
    }
    assert!(acknowledged(&all) > ROUNDS * SENDERS, "too few records were sent: {}", acknowledged(&all));
    server.assert_alive();
    let lines = server.log_lines();
    assert_kept(&lines, &all);
    let times: Vec<String> = lines.iter().map(|line| Line::parse(line).time).collect();
    assert!(times.is_sorted(), "times decrease within the file");
}

#[test]
fn acknowledged_records_survive_kills_with_durability_disk() {
    kill_rounds("disk");
}

#[test]
fn acknowledged_records_survive_kills_with_durability_os() {
    kill_rounds("os");
}

#[test]
fn acknowledged_batch_survives_a_kill_whole() {
    let mut server = Setup::new().durability("disk").start();
    let address = server.address();
    let mut acknowledged_batches = Vec::new();
    for round in 0..4 {
        let sent: Vec<String> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|sender| {
                    scope.spawn(move || {
                        let mut done = Vec::new();
                        let mut conn = Conn::open(address).unwrap();
                        for n in 0.. {
                            let label = format!("{round}-{sender}-{n}");
                            let logs: Vec<Value> =
                                (0..200).map(|i| json!({"msg": format!("{label}:{i}")})).collect();
                            let body = json!({"api_key": KEY, "logs": logs}).to_string();
                            let headers = [("Content-Type", "application/json")];
                            match conn.try_request("POST", &route("save-logs"), &headers, body.as_bytes()) {
                                Ok(response) => {
                                    response.success();
                                    done.push(label);
                                }
                                Err(_) => break,
                            }
                        }
                        done
                    })
                })
                .collect();
            std::thread::sleep(random_pause(150, 400));
            server.kill9();
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
        });
        acknowledged_batches.extend(sent);
        server.respawn();
        let counts = count(&server.log_lines());
        for label in &acknowledged_batches {
            for i in 0..200 {
                assert_eq!(counts.get(&format!("{label}:{i}")), Some(&1), "{label}:{i}");
            }
        }
        assert!(counts.values().all(|&times| times == 1), "a record is stored twice");
    }
    assert!(!acknowledged_batches.is_empty(), "no batch was acknowledged");
}

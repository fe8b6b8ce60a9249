//! Tests of the block list: its bounds, its file, and the entries of the operator.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn blocked(text: &str) -> BlockedAddress {
    text.parse().unwrap()
}

/// Blocks the network of this address automatically.
fn automatic(list: &BlockList, address: &str) -> bool {
    list.block_automatically(ClientNetwork::of(ip(address)), "a flood")
}

fn addresses(list: &BlockList) -> Vec<String> {
    list.entries().iter().map(|entry| entry.address.to_string()).collect()
}

#[test]
fn blocks_and_unblocks_canonical_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let list = BlockList::open(dir.path().join("a.blocked.json"));
    assert!(!list.contains(ip("192.0.2.1")));
    assert!(list.block_by_hand(blocked("::ffff:192.0.2.1"), &"x".repeat(500)));
    assert!(!list.block_by_hand(blocked("192.0.2.1"), "again"));
    assert!(list.contains(ip("192.0.2.1")) && !list.contains(ip("192.0.2.2")));
    let entry = list.entries().remove(0);
    assert_eq!((entry.address, entry.reason.len()), (blocked("192.0.2.1"), 200));
    assert!(entry.since > 1_700_000_000);
    assert!(list.unblock(blocked("::ffff:192.0.2.1")) && !list.unblock(blocked("192.0.2.1")));
    assert!(!list.contains(ip("192.0.2.1")) && list.entries().is_empty());
}

#[test]
fn a_new_entry_replaces_the_oldest_of_a_full_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.blocked.json");
    let list = BlockList::with_capacity(path.clone(), 3);
    for n in 1..=5 {
        automatic(&list, &format!("192.0.2.{n}"));
    }
    assert_eq!(addresses(&list), ["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
    assert!(!list.contains(ip("192.0.2.2")));
    list.write().unwrap();
    assert_eq!(addresses(&BlockList::with_capacity(path, 2)), ["192.0.2.4", "192.0.2.5"]);
}

#[test]
fn entries_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.blocked.json");
    let list = BlockList::open(path.clone());
    list.write().unwrap();
    assert!(!path.exists(), "nothing changed, nothing written");
    for n in 0..3_000_u32 {
        list.block_by_hand(IpAddr::V4((0x0a00_0000 + n).into()).into(), "many");
    }
    list.block_by_hand(blocked("2001:db8::1"), "one");
    automatic(&list, "2001:db8:1::1");
    list.write().unwrap();
    let again = BlockList::open(path.clone());
    assert_eq!(again.entries(), list.entries());
    assert_eq!(again.entries().len(), 3_002);
    assert!(again.contains(ip("2001:db8::1")) && !again.contains(ip("2001:db8::2")));
    assert!(again.contains(ip("2001:db8:1::2")));
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with(r#"[{"address":"10.0.0.0","since":"#), "{text:.80}");
}

#[test]
fn a_broken_file_is_moved_aside() {
    for (content, name) in [("[{]", "a"), ("{}", "b"), (r#"[{"address":"x","since":1,"reason":""}]"#, "c")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let list = BlockList::open(path.clone());
        assert!(list.entries().is_empty() && !path.exists());
        assert_eq!(fs::read_to_string(dir.path().join(format!("{name}.broken"))).unwrap(), content);
        list.block_by_hand(blocked("192.0.2.1"), "");
        list.write().unwrap();
        assert!(BlockList::open(path).contains(ip("192.0.2.1")));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("folder");
    fs::create_dir(&path).unwrap();
    assert!(BlockList::open(path).entries().is_empty(), "unreadable");
}

#[test]
fn a_failed_write_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later").join("a");
    let list = BlockList::open(path.clone());
    list.block_by_hand(blocked("192.0.2.1"), "");
    fs::write(dir.path().join("later"), "not a folder").unwrap();
    assert!(list.write().is_err() && !list.is_saved());
    fs::remove_file(dir.path().join("later")).unwrap();
    list.write().unwrap();
    assert!(path.exists() && list.is_saved());
    fs::remove_file(&path).unwrap();
    list.write().unwrap();
    assert!(path.exists());
}

#[test]
fn no_entry_of_the_operator_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let list = BlockList::with_capacity(dir.path().join("a"), 3);
    assert!(list.block_by_hand(blocked("192.0.2.1"), ""));
    for n in 2..=9 {
        assert!(automatic(&list, &format!("192.0.2.{n}")));
    }
    assert_eq!(addresses(&list), ["192.0.2.1", "192.0.2.8", "192.0.2.9"]);
    assert!(!list.block_by_hand(blocked("192.0.2.9"), ""), "blocked already, and kept from now on");
    assert!(list.block_by_hand(blocked("192.0.2.10"), ""));
    assert!(!automatic(&list, "192.0.2.11"), "the list is full of entries of the operator");
    assert_eq!(addresses(&list), ["192.0.2.1", "192.0.2.9", "192.0.2.10"]);
}

#[test]
fn one_site_replaces_its_own_entries_only() {
    let dir = tempfile::tempdir().unwrap();
    let list = BlockList::with_capacity(dir.path().join("a"), 16);
    assert!(automatic(&list, "203.0.113.1") && automatic(&list, "2001:db8:ffff::1"));
    assert!(list.block_by_hand(blocked("2001:db8::/64"), "") && automatic(&list, "2001:db8:0:1::1"));
    for n in 2..1000 {
        assert!(automatic(&list, &format!("2001:db8:0:{n:x}::1")));
    }
    let expected =
        ["203.0.113.1", "2001:db8:ffff::/64", "2001:db8::/64", "2001:db8:0:3e6::/64", "2001:db8:0:3e7::/64"];
    assert_eq!(addresses(&list), expected);
    assert!(list.unblock(blocked("2001:db8:0:3e6::/64")) && list.unblock(blocked("2001:db8:0:3e7::/64")));
    let entries = list.entries.read().unwrap();
    assert_eq!((entries.by_site.len(), entries.automatic.len()), (1, 2));
}

#[test]
fn files_of_the_version_before_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let text = r#"[{"address":"2001:db8::1","since":1,"reason":"more than 5 requests"},
        {"address":"192.0.2.7","since":2,"reason":"by the operator"}]"#;
    fs::write(&path, text).unwrap();
    let entries = BlockList::open(path).entries();
    assert_eq!(entries.iter().map(|entry| entry.by_hand).collect::<Vec<_>>(), [false, true]);
    assert_eq!(entries[0].address, blocked("2001:db8::1"), "an exact address stays one");
}

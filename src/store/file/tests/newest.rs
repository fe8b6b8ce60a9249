//! Tests reads of the newest lines, from the end of the file.

use super::*;

#[tokio::test]
async fn latest_lines_are_returned_newest_first() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    assert_eq!(latest(&store, 3).await, Vec::<String>::new());
    assert_eq!(read(&store).await, "");
    let mut expected = Vec::new();
    for n in 0..40 {
        // Lines shorter and much longer than a block of the scan.
        let message = format!("{n}-{}", "y".repeat(if n % 7 == 0 { 200_000 } else { n * 100 }));
        save(&store, &message).await;
        expected.insert(0, message);
    }
    for limit in [1, 2, 39, 40, 41, 1000] {
        let lines = latest(&store, limit).await;
        let messages: Vec<_> =
            lines.iter().map(|line| parse_line(line.as_bytes()).unwrap().message).collect();
        assert!(messages.iter().eq(expected.iter().take(limit)), "limit {limit}");
    }
    assert_eq!(read(&store).await, fs::read_to_string(bench.path()).unwrap());
}

#[tokio::test]
async fn huge_foreign_line_is_returned_whole() {
    let bench = Bench::new(Durability::Os);
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    let mut content = b"first\n".to_vec();
    content.extend(std::iter::repeat_n(b'x', 8 * 1024 * 1024));
    content.extend_from_slice(b"end\n");
    fs::write(bench.path(), content).unwrap();
    let store = bench.open();
    let lines = latest(&store, 5).await;
    assert_eq!((lines.len(), lines[1].as_str()), (2, "first"));
    assert!(lines[0].len() == 8 * 1024 * 1024 + 3 && lines[0].ends_with("xend"));
}

#[tokio::test]
async fn longest_record_is_found_by_level_and_time_and_known_as_the_newest() {
    // Each character takes eight bytes in a text line.
    let message = "\u{2028}".repeat(1024 * 1024);
    for format in [LineFormat::Text, LineFormat::Json] {
        let mut bench = Bench::new(Durability::Os);
        bench.settings.format = format;
        let store = bench.open();
        save(&store, "before").await;
        save(&store, &message).await;
        let newest = details(&store).await.newest;
        assert!(newest.is_some());
        for order in [Order::Ascending, Order::Descending] {
            let selection = Selection { level: Some(Level::Info), since: Some(0), ..Selection::default() };
            let found = messages_selected(&store, selection, order).await;
            assert!(found.len() == 2 && found.contains(&message), "{format:?} {order:?}");
        }
        let last = store.statistics().await.last_record;
        store.close().await.unwrap();
        let store = bench.open();
        let statistics = store.statistics().await;
        assert_eq!((statistics.last_record, details(&store).await.newest), (last, newest));
        assert!(statistics.oldest_record.is_some_and(|oldest| Some(oldest) <= last), "{format:?}");
    }
}

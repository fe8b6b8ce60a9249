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

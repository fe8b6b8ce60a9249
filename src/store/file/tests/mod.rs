//! Tests the engine with real files: every acknowledged record is in the log once, in order and
//! whole, even when the file is damaged.

mod append;
mod clear;
mod clock;
mod newest;
mod outside;

use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use tempfile::TempDir;

use super::log_file::LogFile;
use super::store::DISK_TIMEOUT;
use super::*;
use crate::config::Durability;
use crate::record::{Entry, Level, LineFormat, parse_line};
use crate::store::{
    AppendLog, Cursor, Details, Extent, Form, ManageLog, Order, Query, RawFile, ReadLog, Selection, Source,
    StoreError, append,
};

struct Bench {
    dir: TempDir,
    settings: Settings,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.log");
        Self { settings: Settings { path, format: LineFormat::Text, durability, rotate: None }, dir }
    }

    fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    fn open(&self) -> FileStore {
        let state = self.dir.path().join("a.state");
        let (store, committer) =
            FileStore::open(&self.settings, self.dir.path(), &state, 1024 * 1024).unwrap();
        tokio::spawn(committer);
        store
    }

    fn messages(&self) -> Vec<String> {
        let text = fs::read(self.path()).unwrap();
        assert!(text.is_empty() || text.ends_with(b"\n"));
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| parse_line(line).unwrap().message).collect()
    }
}

const SOURCE: Source<'static> = Source { client: "192.0.2.1", key: "k", route: "save-log" };

async fn save(store: &FileStore, message: &str) -> Cursor {
    append(store, &SOURCE, &[Entry::new(Level::Info, message)]).await.unwrap().cursor
}

async fn details(store: &FileStore) -> Details {
    loop {
        let details = store.details().await;
        if !details.counting {
            return details;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn read(store: &FileStore) -> String {
    let snapshot = store.snapshot().await.unwrap();
    let blocks: Vec<_> = snapshot.bytes.stream(0..snapshot.len).collect().await;
    let bytes: Vec<u8> = blocks.into_iter().flat_map(|block| block.unwrap()).collect();
    String::from_utf8(bytes).unwrap()
}

async fn latest(store: &FileStore, limit: usize) -> Vec<String> {
    let limit = NonZeroU64::new(limit as u64);
    answer(store, Selection::default(), Order::Descending, limit, Extent::Newest).await
}

async fn messages_selected(store: &FileStore, selection: Selection, order: Order) -> Vec<String> {
    let lines = answer(store, selection, order, None, Extent::First).await;
    lines.iter().map(|line| parse_line(line.as_bytes()).unwrap().message).collect()
}

async fn answer(
    store: &FileStore,
    selection: Selection,
    order: Order,
    limit: Option<NonZeroU64>,
    extent: Extent,
) -> Vec<String> {
    let progress = Box::new(|| ());
    let query = Query { selection, order, cursor: None, limit, extent, form: Form::LINES, progress };
    let blocks: Vec<_> = ReadLog::read(store, query).await.unwrap().blocks.collect().await;
    let bytes: Vec<u8> = blocks.into_iter().flat_map(|block| block.unwrap()).collect();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

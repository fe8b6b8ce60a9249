//! Writes the block list to disk in the background, so that no request waits for the disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::block_list::BlockList;

/// Minimum time between two writes. During a flood every request may change the list.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Time until a failed write is repeated.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Writes the list after each change. Never returns. Needs a tokio runtime with time.
pub(crate) async fn persist(list: &Arc<BlockList>) {
    let mut is_failing = false;
    loop {
        list.changed.notified().await;
        let list_to_write = Arc::clone(list);
        match tokio::task::spawn_blocking(move || list_to_write.write())
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)))
        {
            Ok(()) => {
                is_failing = false;
                tokio::time::sleep(WRITE_INTERVAL).await;
            }
            Err(error) => {
                if !is_failing {
                    crate::event!(error, BLOCK_LIST_NOT_WRITTEN; "the block list cannot be written: {error}");
                }
                is_failing = true;
                list.changed.notify_one();
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

//! Keeps the block list on disk without any request waiting for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::block_list::BlockList;

/// A flood from many addresses changes the list with every request; it is written once a second then.
const PAUSE: Duration = Duration::from_secs(1);
/// Until a failed write is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Writes the list whenever it changed; ends only when the runtime does. Needs a runtime with time.
pub(crate) async fn persist(list: &Arc<BlockList>) {
    let mut failing = false;
    loop {
        list.changed.notified().await;
        let own = Arc::clone(list);
        match tokio::task::spawn_blocking(move || own.write())
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)))
        {
            Ok(()) => {
                failing = false;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                if !failing {
                    crate::event!(error, BLOCK_LIST_NOT_WRITTEN; "the block list cannot be written: {error}");
                }
                failing = true;
                list.changed.notify_one();
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

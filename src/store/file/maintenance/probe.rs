//! Probes whether the log can be written again after a write failed, without writing a byte that a
//! reader could see.

use std::io;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::fault;
use crate::store::file::log_file::LogFile;

/// Bytes that the disk must have room for.
const PROBE_BYTES: u32 = 64 * 1024;

impl LogFile {
    /// Reserves space behind the end of the verified file, and gives it back.
    ///
    /// # Errors
    /// Fails when the disk is full, read-only or broken, as an append would.
    pub(crate) fn probe(&self) -> io::Result<()> {
        fault::step("append.write")?;
        let end = i64::try_from(self.len).unwrap_or(i64::MAX);
        match fallocate(&*self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, end, PROBE_BYTES.into()) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if self.free_space()? < PROBE_BYTES.into() => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        // A file that can only be appended to keeps the space for its next lines.
        drop(self.file.set_len(self.len));
        self.file.sync_data()
    }
}

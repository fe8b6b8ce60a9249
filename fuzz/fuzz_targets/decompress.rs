//! Fuzzes compressed bodies, in every coding and list of codings.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for codings in ["gzip", "deflate", "zstd", "gzip, deflate", "zstd, gzip", "gzip, deflate, zstd"] {
        moca_file_log::http::fuzzing::decompress(codings, body);
    }
});

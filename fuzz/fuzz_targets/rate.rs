//! Fuzzes the parser of rate limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moca_file_log::config::RateLimits;

fuzz_target!(|text: &str| {
    if let Ok(limits) = text.parse::<RateLimits>() {
        assert_eq!(limits.to_string().parse(), Ok(limits));
    }
});

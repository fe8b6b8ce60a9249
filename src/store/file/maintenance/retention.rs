//! Decides how many of the oldest segments are removed.

use crate::config::Rotate;
use crate::store::file::segments::segment::SegmentList;

/// Returns the number of oldest segments that `rules` remove at `now` (microseconds since the
/// epoch), when the active file has `active` bytes.
pub(crate) fn expired_segments(segments: &SegmentList, rules: &Rotate, active: u64, now: i64) -> usize {
    let items = segments.items();
    let kept = |keep: u64| usize::try_from(keep).unwrap_or(usize::MAX);
    let by_count = rules.keep.map_or(0, |keep| items.len().saturating_sub(kept(keep)));
    let by_age = rules.max_age.map_or(0, |age| {
        let since = now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        items.iter().take_while(|segment| segment.newest < since).count()
    });
    let by_size = rules.max_total.map_or(0, |max_total| {
        let mut total = segments.stored().saturating_add(active);
        items
            .iter()
            .take_while(|segment| {
                let is_over = total > max_total.get();
                total = total.saturating_sub(segment.stored);
                is_over
            })
            .count()
    });
    by_count.max(by_age).max(by_size)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::store::file::segments::segment::segment_without_file;

    /// Returns ten segments of 10 bytes, one a second.
    fn ten_segments() -> SegmentList {
        let items = (0..10).map(|n| {
            let mut segment = segment_without_file(n + 1, 10);
            segment.newest = n as i64 * 1_000_000;
            Arc::new(segment)
        });
        SegmentList::new(items.collect())
    }

    #[test]
    fn each_rule_removes_the_oldest_segments() {
        let segments = ten_segments();
        let now = 9_500_000;
        let expired = |rules: Rotate| expired_segments(&segments, &rules, 5, now);
        assert_eq!(expired(Rotate::default()), 0);
        for (keep, expected) in [(0, 10), (3, 7), (10, 0), (u64::MAX, 0)] {
            assert_eq!(expired(Rotate { keep: Some(keep), ..Rotate::default() }), expected, "keep {keep}");
        }
        for (most, expected) in [(1, 10), (5, 10), (14, 10), (15, 9), (104, 1), (105, 0), (u64::MAX, 0)] {
            let max_total = NonZeroU64::new(most);
            assert_eq!(expired(Rotate { max_total, ..Rotate::default() }), expected, "max_total {most}");
        }
        for (seconds, expected) in [(0, 10), (1, 9), (9, 1), (10, 0), (1 << 40, 0)] {
            let max_age = Some(Duration::from_secs(seconds));
            assert_eq!(expired(Rotate { max_age, ..Rotate::default() }), expected, "max_age {seconds} s");
        }
        let strictest = Rotate { keep: Some(9), max_age: Some(Duration::from_secs(5)), ..Rotate::default() };
        assert_eq!(expired(strictest), 5);
    }
}

//! Decides how many of the oldest segments are removed.

use crate::config::Rotate;
use crate::store::file::segments::segment::SegmentList;

/// Returns the number of oldest segments that the age in `rules` removes at `now` (microseconds since
/// the epoch): at most half of all segments, so that the rest is left when the clock is wrong in a
/// way that nothing noticed.
pub(crate) fn too_old_segments(segments: &SegmentList, rules: &Rotate, now: i64) -> usize {
    let items = segments.items();
    rules.max_age.map_or(0, |age| {
        let since = now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let half = items.iter().take(items.len().div_ceil(2));
        half.take_while(|segment| segment.age_from() < since).count()
    })
}

/// Returns the number of oldest segments that `keep` and `max_total` remove, when the active file
/// has `active` bytes.
pub(crate) fn excess_segments(segments: &SegmentList, rules: &Rotate, active: u64) -> usize {
    let items = segments.items();
    let kept = |keep: u64| usize::try_from(keep).unwrap_or(usize::MAX);
    let by_count = rules.keep.map_or(0, |keep| items.len().saturating_sub(kept(keep)));
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
    by_count.max(by_size)
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
        let expired = |rules: Rotate| excess_segments(&segments, &rules, 5);
        assert_eq!(expired(Rotate::default()), 0);
        for (keep, expected) in [(0, 10), (3, 7), (10, 0), (u64::MAX, 0)] {
            assert_eq!(expired(Rotate { keep: Some(keep), ..Rotate::default() }), expected, "keep {keep}");
        }
        for (most, expected) in [(1, 10), (5, 10), (14, 10), (15, 9), (104, 1), (105, 0), (u64::MAX, 0)] {
            let max_total = NonZeroU64::new(most);
            assert_eq!(expired(Rotate { max_total, ..Rotate::default() }), expected, "max_total {most}");
        }
        let strictest = Rotate { keep: Some(9), max_total: NonZeroU64::new(55), ..Rotate::default() };
        assert_eq!(expired(strictest), 5);
    }

    #[test]
    fn age_removes_at_most_half_of_the_segments() {
        let segments = ten_segments();
        let too_old =
            |max_age| too_old_segments(&segments, &Rotate { max_age, ..Rotate::default() }, 9_500_000);
        assert_eq!(too_old(None), 0);
        for (seconds, expected) in [(0, 5), (1, 5), (5, 5), (6, 4), (9, 1), (10, 0), (1 << 40, 0)] {
            assert_eq!(too_old(Some(Duration::from_secs(seconds))), expected, "max_age {seconds} s");
        }
        let one = SegmentList::new(segments.items()[..1].to_vec());
        let rules = Rotate { max_age: Some(Duration::from_secs(1)), ..Rotate::default() };
        assert_eq!(too_old_segments(&one, &rules, 9_500_000), 1, "half of one is one");
    }

    #[test]
    fn age_counts_from_the_change_of_the_file_when_that_is_later() {
        let mut segment = segment_without_file(1, 10);
        (segment.newest, segment.mtime) = (1_000_000, Some(8_000_000_000));
        assert_eq!(segment.age_from(), 8_000_000);
        (segment.newest, segment.mtime) = (9_000_000, Some(8_000_000_000));
        assert_eq!(segment.age_from(), 9_000_000);
        let file = tempfile::NamedTempFile::new().unwrap();
        (segment.path, segment.mtime) = (file.path().to_owned(), None);
        assert!(segment.age_from() > 1_700_000_000_000_000, "the file is asked");
    }
}

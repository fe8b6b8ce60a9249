//! One pass over a part of an image: the lines that are admitted, one after the other, read block by block.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::image::Image;
use super::sieve::{Places, Sieve};
use super::walk::{Sizes, Walk};
use crate::store::Order;

/// See the module.
pub(super) struct Scan {
    walk: Walk,
    sieve: Arc<Sieve>,
    /// the places in the block in hand that are still to be given, the next one last
    places: Places,
}

/// A line that is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<'b> {
    /// where it stands in the image, the line end included
    pub(super) place: Range<u64>,
    /// without its line end; of one that is longer than a block, and none of ours, its end
    pub(super) line: &'b [u8],
}

impl Scan {
    pub(super) fn new(image: Image, sizes: Sizes, sieve: Arc<Sieve>, order: Order, part: Range<u64>) -> Self {
        Self { walk: Walk::new(image, sizes, order, part), sieve, places: Places::new() }
    }

    pub(super) const fn image(&self) -> &Image {
        self.walk.image()
    }

    /// Nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.places.is_empty() && self.walk.is_done()
    }

    /// The next line of the block in hand.
    pub(super) fn next(&mut self) -> Option<Found<'_>> {
        let place = self.places.pop()?;
        let piece = self.walk.piece();
        let line = piece.lines.get(place.start as usize..place.end as usize).unwrap_or_default();
        // a line that was cut is the only one of its piece
        let cut = piece.end - piece.start - piece.lines.len() as u64;
        let begin = piece.start + u64::from(place.start);
        let end = begin + cut + u64::from(place.end - place.start);
        Some(Found { place: begin..end, line: line.strip_suffix(b"\n").unwrap_or(line) })
    }

    /// Takes the next block in hand, when [`Self::next`] has nothing more.
    pub(super) fn read(&mut self) -> io::Result<()> {
        self.places.clear();
        if self.walk.read()? {
            let piece = self.walk.piece();
            if piece.end - piece.start == piece.lines.len() as u64 || self.sieve.is_open() {
                self.sieve.pick(piece.lines, &mut self.places);
            }
            if self.walk.order() == Order::Ascending {
                self.places.reverse();
            }
        }
        Ok(())
    }
}

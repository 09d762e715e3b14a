//! How large all answers of one part may be together. Whether they fit depends on how large they are, never on which of them
//! comes first.

use std::cell::RefCell;
use std::sync::Arc;

use super::json::Json;
use crate::proxy::failure::PartCause;
use crate::snapshot::MemoryBudget;

/// So many times `bytes_max` may all pages and items of a part have together.
const ANSWERS_OF_A_PART: usize = 8;

/// The room for all answers of a part.
pub(super) struct Rooms<'a> {
    memory: &'a Arc<MemoryBudget>,
    bytes_max: usize,
    /// By item; a part without `for_each` is one.
    taken: RefCell<Vec<usize>>,
}

/// The room for the answers for one item: all its pages.
#[derive(Clone, Copy)]
pub(super) struct Room<'a> {
    rooms: &'a Rooms<'a>,
    item: usize,
}

impl<'a> Rooms<'a> {
    /// `bytes_max`: of one answer.
    pub(super) fn new(memory: &'a Arc<MemoryBudget>, bytes_max: usize, items: usize) -> Rooms<'a> {
        let bytes_max = bytes_max.saturating_mul(ANSWERS_OF_A_PART);
        Rooms { memory, bytes_max, taken: RefCell::new(vec![0; items]) }
    }

    pub(super) fn of(&self, item: usize) -> Room<'_> {
        Room { rooms: self, item }
    }

    /// The first item with which all up to it are too large, as far as they are there.
    pub(super) fn first_beyond(&self) -> Option<usize> {
        let mut bytes = 0_usize;
        self.taken.borrow().iter().position(|taken| {
            bytes = bytes.saturating_add(*taken);
            bytes > self.bytes_max
        })
    }

    pub(super) fn too_large(&self) -> PartCause {
        PartCause::TooLarge(self.bytes_max)
    }

    /// Makes a list of these values, or of what is in them. It is counted before it is made, and for as long as it is there.
    pub(super) fn made(
        &self,
        values: &[Json],
        make: impl FnOnce() -> Result<Json, PartCause>,
    ) -> Result<Json, PartCause> {
        let mut held = self.memory.hold();
        let bytes = values.iter().map(|value| value.as_bytes().len() + 1).sum::<usize>() + 2;
        if !held.grow(bytes) {
            return Err(PartCause::NoMemory);
        }
        make()?.counted(held).ok_or(PartCause::NoMemory)
    }
}

impl Room<'_> {
    /// Takes a further answer, also of an item that fails after all.
    pub(super) fn take(&self, bytes: usize) -> Result<(), PartCause> {
        self.rooms.taken.borrow_mut()[self.item] += bytes;
        match self.rooms.first_beyond() {
            Some(item) if item <= self.item => Err(self.rooms.too_large()),
            _ => Ok(()),
        }
    }

    /// As [`Rooms::made`].
    pub(super) fn made(
        &self,
        values: &[Json],
        make: impl FnOnce() -> Result<Json, PartCause>,
    ) -> Result<Json, PartCause> {
        self.rooms.made(values, make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_whatever_order_answers_come_the_same_item_is_too_large() {
        let memory = MemoryBudget::new(1 << 20);
        // Of 80 bytes.
        for (sizes, beyond) in [
            (&[40, 40, 0][..], None),
            (&[40, 40, 1], Some(2)),
            (&[81, 0, 0], Some(0)),
            (&[0, 81, 40], Some(1)),
            (&[20, 20, 20, 20, 20, 20], Some(4)),
        ] {
            let orders: [Vec<usize>; 3] = [
                (0..sizes.len()).collect(),
                (0..sizes.len()).rev().collect(),
                (0..sizes.len()).step_by(2).chain((1..sizes.len()).step_by(2)).collect(),
            ];
            for order in orders {
                let rooms = Rooms::new(&memory, 10, sizes.len());
                for item in &order {
                    let fits = rooms.of(*item).take(sizes[*item]).is_ok();
                    assert!(fits || beyond.is_some_and(|beyond| beyond <= *item), "{sizes:?} {order:?}");
                }
                assert_eq!(rooms.first_beyond(), beyond, "{sizes:?} {order:?}");
            }
        }
    }

    #[test]
    fn pages_of_one_item_count_together() {
        let memory = MemoryBudget::new(1 << 20);
        let rooms = Rooms::new(&memory, 10, 1);
        let room = rooms.of(0);
        assert!((0..8).all(|_| room.take(10).is_ok()));
        assert!(matches!(room.take(1), Err(PartCause::TooLarge(80))));
    }
}

//! How much may be kept, shared out to the shards in blocks.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The room of a whole store for one kind of thing.
#[derive(Debug)]
pub(super) struct Pool {
    left: AtomicUsize,
    block: usize,
}

impl Pool {
    /// Room for `most` things; a shard takes `block` at a time, so that it seldom asks.
    pub(super) fn new(most: usize, block: usize) -> Self {
        Self {
            left: AtomicUsize::new(most),
            block: block.max(1),
        }
    }

    fn take_block(&self) -> bool {
        // Only the number itself is shared; nothing else is ordered by it.
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(self.block)
            })
            .is_ok()
    }

    fn give_block(&self) {
        self.left.fetch_add(self.block, Ordering::Relaxed);
    }
}

/// One shard's part of a [`Pool`].
#[derive(Debug, Default)]
pub(super) struct Room {
    used: usize,
    granted: usize,
}

impl Room {
    /// Takes room for one thing; false where there is none.
    pub(super) fn take(&mut self, pool: &Pool) -> bool {
        if self.used >= self.granted {
            if !pool.take_block() {
                return false;
            }
            self.granted += pool.block;
        }
        self.used += 1;
        true
    }

    /// Takes room for what must be kept even where there is none.
    pub(super) fn take_always(&mut self, pool: &Pool) {
        if !self.take(pool) {
            self.used += 1;
        }
    }

    /// How many things have room.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Gives the room of `count` things back.
    pub(super) fn give(&mut self, count: usize, pool: &Pool) {
        self.used = self.used.saturating_sub(count);
        // One spare block stays, or a shard at the edge of a block would ask each time.
        let spare = 2 * (pool.block - 1);
        while self.granted.saturating_sub(self.used) > spare {
            self.granted -= pool.block;
            pool.give_block();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_never_overdrawn_and_gets_everything_back() {
        for block in [1, 3] {
            let pool = Pool::new(6, block);
            let mut rooms = [Room::default(), Room::default()];
            let taken = (0..10).filter(|turn| rooms[turn % 2].take(&pool)).count();
            assert_eq!(taken, 6, "block {block}");
            rooms[0].give(3, &pool);
            rooms[1].give(3, &pool);
            assert!((0..3).all(|_| rooms[0].take(&pool)), "block {block}");
        }
    }

    #[test]
    fn what_must_be_kept_is_paid_back_before_anything_new_is_taken() {
        let pool = Pool::new(1, 1);
        let mut room = Room::default();
        assert!(room.take(&pool));
        room.take_always(&pool);
        room.give(1, &pool);
        assert!(!room.take(&pool));
        room.give(1, &pool);
        assert!(room.take(&pool));
    }
}

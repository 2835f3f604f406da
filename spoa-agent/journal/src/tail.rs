//! What was written lately, kept in memory, so that a follower that keeps up never reads the disk.
//!
//! Large batches move in as they are; small ones are copied into a shared chunk, so that the memory
//! held is what the bound says, not the capacity of many half-empty buffers.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::{Place, Position};

/// Batches below this are copied.
const SMALL: usize = 32 << 10;
const CHUNK: usize = 256 << 10;
/// What a block costs beside its bytes.
const BLOCK_COST: usize = 64;

/// Whole records that follow each other.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) start: Place,
    pub(crate) bytes: Bytes,
}

#[derive(Debug)]
pub(crate) struct Tail {
    blocks: VecDeque<Block>,
    chunk: BytesMut,
    held: usize,
    limit: usize,
    end: Place,
}

impl Tail {
    pub(crate) fn new(limit: usize, end: Place) -> Self {
        Self {
            blocks: VecDeque::new(),
            chunk: BytesMut::new(),
            held: 0,
            limit,
            end,
        }
    }

    /// Where the last written record ends.
    pub(crate) fn end(&self) -> Place {
        self.end
    }

    /// Takes a batch that was just written. Gives back a buffer for the next batch when one is
    /// free.
    pub(crate) fn push(&mut self, start: Place, mut batch: Vec<u8>, end: Place) -> Option<Vec<u8>> {
        self.end = end;
        if self.limit == 0 {
            batch.clear();
            return Some(batch);
        }
        let small = batch.len() < SMALL || batch.len() < batch.capacity() / 2;
        let (bytes, spare) = if small {
            let bytes = self.copy(&batch);
            batch.clear();
            (bytes, Some(batch))
        } else {
            (Bytes::from(batch), None)
        };
        self.held += bytes.len() + BLOCK_COST;
        self.blocks.push_back(Block { start, bytes });
        self.shrink().or(spare)
    }

    /// The block that holds `position`, if it is still in memory.
    pub(crate) fn find(&self, position: Position) -> Option<Block> {
        let after = self
            .blocks
            .partition_point(|block| block.start.position <= position);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        let offset = position - block.start.position;
        (offset < block.bytes.len() as u64).then(|| block.clone())
    }

    fn copy(&mut self, batch: &[u8]) -> Bytes {
        if batch.len() >= CHUNK / 4 {
            return Bytes::copy_from_slice(batch);
        }
        if self.chunk.capacity() - self.chunk.len() < batch.len() {
            self.chunk = BytesMut::with_capacity(CHUNK);
        }
        self.chunk.extend_from_slice(batch);
        self.chunk.split().freeze()
    }

    /// Lets go of the oldest blocks until the bound holds; gives back the buffer of one of them.
    fn shrink(&mut self) -> Option<Vec<u8>> {
        let mut spare = None;
        while self.held > self.limit {
            let Some(block) = self.blocks.pop_front() else {
                break;
            };
            self.held = self.held.saturating_sub(block.bytes.len() + BLOCK_COST);
            if block.bytes.len() >= SMALL && spare.is_none() {
                spare = reclaim(block.bytes);
            }
        }
        spare
    }
}

/// The buffer behind `bytes`, empty, if nobody else reads it.
pub(crate) fn reclaim(bytes: Bytes) -> Option<Vec<u8>> {
    let mut buffer = bytes.try_into_mut().ok()?;
    buffer.clear();
    Some(Vec::from(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64, sequence: u64) -> Place {
        Place { position, sequence }
    }

    #[test]
    fn a_block_is_found_by_any_position_inside_it_until_the_bound_pushes_it_out() {
        let mut tail = Tail::new(340, place(0, 0));
        tail.push(place(0, 0), vec![1; 100], place(100, 1));
        tail.push(place(100, 1), vec![2; 100], place(200, 2));
        assert_eq!(tail.find(0).unwrap().start, place(0, 0));
        assert_eq!(tail.find(199).unwrap().start, place(100, 1));
        assert!(tail.find(200).is_none());
        tail.push(place(200, 2), vec![3; 100], place(300, 3));
        assert!(tail.find(0).is_none());
        assert_eq!(tail.end(), place(300, 3));
    }

    #[test]
    fn a_large_batch_moves_in_and_its_buffer_comes_back_when_it_leaves() {
        let mut tail = Tail::new(150 << 10, place(0, 0));
        let batch = vec![7; 100 << 10];
        let address = batch.as_ptr();
        assert!(tail.push(place(0, 0), batch, place(100 << 10, 1)).is_none());
        assert_eq!(tail.find(5).unwrap().bytes.as_ptr(), address);
        let spare = tail
            .push(place(100 << 10, 1), vec![8; 100 << 10], place(200 << 10, 2))
            .unwrap();
        assert_eq!(spare.as_ptr(), address);
        assert!(spare.is_empty() && spare.capacity() >= 100 << 10);
    }

    #[test]
    fn a_buffer_that_a_reader_still_holds_is_not_given_back() {
        let mut tail = Tail::new(150 << 10, place(0, 0));
        tail.push(place(0, 0), vec![7; 100 << 10], place(100 << 10, 1));
        let read = tail.find(0).unwrap();
        assert!(
            tail.push(place(100 << 10, 1), vec![8; 100 << 10], place(200 << 10, 2))
                .is_none()
        );
        assert_eq!(read.bytes[0], 7);
    }
}

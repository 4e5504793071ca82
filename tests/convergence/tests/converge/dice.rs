//! Chance as a string of bytes: what proptest generates and shrinks. Zero is always the plainest choice, so that a case
//! that shrinks becomes plain.

/// The bytes of one happening; the unthrown rest counts as zeros.
#[derive(Debug)]
pub struct Dice<'a> {
    bytes: &'a [u8],
}

impl<'a> Dice<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One of these, the plainest first.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// True in so many of sixteen cases; false for zero.
    pub fn chance(&mut self, sixteenths: u8) -> bool {
        self.byte() % 16 >= 16 - sixteenths
    }
}

//! Choices made of random words: the same words give the same choices, and fewer or smaller words give simpler ones, so
//! that proptest can shrink what it does not understand.

/// A supply of choices; when the words are used up, every choice is the first one.
pub(crate) struct Choices {
    words: std::vec::IntoIter<u16>,
}

impl Choices {
    pub(crate) fn new(words: Vec<u16>) -> Self {
        Self {
            words: words.into_iter(),
        }
    }

    /// True as long as there are words left.
    pub(crate) fn more(&self) -> bool {
        self.words.len() > 0
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let word = self.words.next().map_or(0, usize::from);
        word % bound.max(1)
    }

    /// True once in `times` on average.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    /// One of these.
    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

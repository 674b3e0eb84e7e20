//! One page of a list that is longer than memory should hold, gathered in one pass over it.

use super::Id;
use std::collections::VecDeque;

/// The newest `limit` of what it is offered, or the first `limit` behind `after`.
#[derive(Debug)]
pub(super) struct Page<T> {
    after: Option<Id>,
    limit: usize,
    shown: VecDeque<(Id, T)>,
}

impl<T> Page<T> {
    pub(super) fn new(after: Option<Id>, limit: usize) -> Self {
        Self { after, limit, shown: VecDeque::new() }
    }

    /// Takes the next of the list, which is in the order of ids.
    pub(super) fn offer(&mut self, id: Id, item: T) {
        match self.after {
            Some(after) if id <= after => {}
            // One more than is shown says that more follow.
            Some(_) if self.shown.len() <= self.limit => self.shown.push_back((id, item)),
            Some(_) => {}
            None => {
                self.shown.push_back((id, item));
                if self.shown.len() > self.limit {
                    self.shown.pop_front();
                }
            }
        }
    }

    /// What is shown, and what to go on after if more follow.
    pub(super) fn finish(mut self) -> (Vec<T>, Option<String>) {
        let mut next = None;
        if self.after.is_some() && self.shown.len() > self.limit {
            self.shown.truncate(self.limit);
            next = self.shown.back().map(|(id, _)| id.to_string());
        }
        (self.shown.into_iter().map(|(_, item)| item).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::Place;

    fn page(after: Option<u64>, limit: usize) -> (Vec<u64>, Option<String>) {
        let id = |offset| Id { place: Place { offset, index: 0 }, part: 0 };
        let mut page = Page::new(after.map(id), limit);
        (1..=5).for_each(|offset| page.offer(id(offset), offset));
        page.finish()
    }

    #[test]
    fn it_is_the_newest_or_what_follows() {
        assert_eq!(page(None, 2), (vec![4, 5], None));
        assert_eq!(page(None, 9), (vec![1, 2, 3, 4, 5], None));
        assert_eq!(page(Some(1), 2), (vec![2, 3], Some("3-0-0".to_owned())));
        assert_eq!(page(Some(3), 2), (vec![4, 5], None), "nothing follows");
        assert_eq!(page(Some(5), 2), (vec![], None));
    }
}

//! What a vendor was last told of a user, and what a message would change about it.
//!
//! The words of the mirror between a connector, which can read payloads, and the engine, which
//! cannot. All of it is plain data: who keeps it, and when it may be believed, is the engine's.

use std::fmt;

/// What the vendor was last told of one user, and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The user as the vendor sees it, for example `external_id:u-1`: a [`super::Lane`] is a hash,
    /// and two users that share one must not be taken for each other.
    pub identifier: String,
    /// Each attribute's value as canonical raw JSON: `null` where it was taken away, and empty where
    /// nobody knows what the vendor has.
    pub values: Values,
}

/// Attributes and their values, by name, in two pieces of memory however many there are: the mirror
/// reads and forgets users all the time.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Values {
    /// Each name and its value, one after the other, in the order of names.
    text: String,
    /// Where in `text` the name ends, and where the value does.
    ends: Vec<(usize, usize)>,
}

impl Values {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.find(name).ok()?;
        Some(self.at(found).1)
    }

    /// Sets the value of `name`.
    pub fn insert(&mut self, name: &str, value: &str) {
        let at = match self.find(name) {
            Ok(at) => at,
            Err(at) => {
                let start = self.start(at);
                self.text.insert_str(start, name);
                for (name_end, value_end) in self.ends.iter_mut().skip(at) {
                    *name_end += name.len();
                    *value_end += name.len();
                }
                let name_end = start + name.len();
                self.ends.insert(at, (name_end, name_end));
                at
            }
        };
        let Some((first, after)) = self.ends.get_mut(at..).and_then(<[_]>::split_first_mut) else {
            return;
        };
        let (name_end, before) = *first;
        self.text.replace_range(name_end..before, value);
        first.1 = name_end + value.len();
        for end in after.iter_mut().flat_map(|(name_end, value_end)| [name_end, value_end]) {
            *end = *end - before + first.1;
        }
    }

    /// Keeps the attributes whose names `keeps` lets through.
    pub fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        *self = self.iter().filter(|(name, _)| keeps(name)).collect();
    }

    /// Names and values, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        (0..self.ends.len()).map(|index| self.at(index))
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no attribute.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where `name` is, or where it belongs.
    fn find(&self, name: &str) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.ends.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.at(middle).0.cmp(name) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    /// Where the attribute of this number starts, and the one before it ends.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |ends| ends.1)
    }

    fn at(&self, index: usize) -> (&str, &str) {
        let (start, (name_end, value_end)) =
            (self.start(index), self.ends.get(index).copied().unwrap_or_default());
        let part = |range| self.text.get(range).unwrap_or_default();
        (part(start..name_end), part(name_end..value_end))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Values {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(attributes: T) -> Self {
        let attributes = attributes.into_iter();
        let mut values = Self::default();
        values.ends.reserve(attributes.size_hint().0);
        for (name, value) in attributes {
            let last = values.ends.len().checked_sub(1).map(|last| values.at(last).0);
            if last.is_none_or(|last| last < name) {
                values.text.push_str(name);
                let name_end = values.text.len();
                values.text.push_str(value);
                values.ends.push((name_end, values.text.len()));
            } else {
                values.insert(name, value);
            }
        }
        values
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

/// What a message has to say that the vendor was not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// All of it, as far as anybody knows.
    Whole,
    /// Part of it: this payload says that and no more.
    Part { payload: String, saved: Saved },
    /// Nothing.
    Nothing { saved: Saved },
}

/// What is not sent because the vendor has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    pub attributes: u64,
    /// What the vendor would have billed for them.
    pub points: u64,
}

/// What the vendor did with a message, as far as it concerns what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It took it.
    Accepted,
    /// Nobody knows.
    Unknown,
}

/// What a message of a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Whether it is an object of its own; `false` where it shares that of a message before it.
    pub object: bool,
    /// What the vendor bills for it, in its own currency.
    pub points: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn all(values: &Values) -> Vec<(&str, &str)> {
        values.iter().collect()
    }

    proptest! {
        #[test]
        fn values_are_a_map(
            steps in prop::collection::vec(("[aäbc]{0,3}", prop::option::of(".{0,9}")), 0..60),
        ) {
            let (mut values, mut model) = (Values::default(), BTreeMap::new());
            for (name, value) in &steps {
                if let Some(value) = value {
                    values.insert(name, value);
                    model.insert(&**name, &**value);
                } else {
                    values.retain(|known| known != name);
                    model.remove(&**name);
                }
                prop_assert_eq!(values.get(name), model.get(&**name).copied());
            }
            prop_assert_eq!(all(&values), model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(values.iter().collect::<Values>(), values.clone());
            let set = || steps.iter().filter_map(|(name, value)| Some((&**name, value.as_deref()?)));
            let model: BTreeMap<&str, &str> = set().collect();
            let values: Values = set().collect();
            prop_assert_eq!(all(&values), model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!((values.len(), values.is_empty()), (values.iter().len(), values == Values::default()));
        }
    }
}

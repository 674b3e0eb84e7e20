//! User mapping: a user id is counted as another one (`amplitude-ingest.md` section 7; Amplitude's
//! "Aliasing" page, read 2026-03).
//!
//! Nothing is rewritten: events and properties stay with who sent them. Amplitude does not say what
//! chains and cycles do. We decided: chains may have up to eight hops and end at their last user id,
//! cycles are refused, and mapping a user id again replaces what it was mapped to.

/// Hops that a chain of mappings may have.
pub const HOPS_MAX: usize = 8;

/// Why a mapping may not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a user id cannot be mapped to itself")]
    Itself,
    #[error("the mapping would form a cycle")]
    Cycle,
    #[error("the mapping would form a chain of more than {HOPS_MAX} hops")]
    TooLong,
}

/// Where a chain that begins at `user_id` ends: `user_id` itself where it is not mapped.
///
/// `mapped_to` is asked for one hop at a time, at most [`HOPS_MAX`] times.
pub fn end_of<E>(
    user_id: &str,
    mut mapped_to: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut end = user_id.to_owned();
    for _ in 0..HOPS_MAX {
        match mapped_to(&end)? {
            Some(next) => end = next,
            None => break,
        }
    }
    Ok(end)
}

/// Whether `user_id` may be mapped to `global_user_id`, which takes the place of what it is mapped
/// to now.
///
/// `mapped_to` tells what a user id is mapped to, `mapped_from` who is mapped to it.
pub fn check<E>(
    user_id: &str,
    global_user_id: &str,
    mut mapped_to: impl FnMut(&str) -> Result<Option<String>, E>,
    mut mapped_from: impl FnMut(&str) -> Result<Vec<String>, E>,
) -> Result<Result<(), Refused>, E> {
    if user_id == global_user_id {
        return Ok(Err(Refused::Itself));
    }
    let (mut below, mut end) = (1, global_user_id.to_owned());
    while let Some(next) = mapped_to(&end)? {
        if next == user_id {
            return Ok(Err(Refused::Cycle));
        }
        below += 1;
        if below > HOPS_MAX {
            return Ok(Err(Refused::TooLong));
        }
        end = next;
    }
    // Who stands above moves along: a level at a time, as far as a chain may reach.
    let mut level = vec![user_id.to_owned()];
    for above in below.. {
        if above > HOPS_MAX {
            return Ok(Err(Refused::TooLong));
        }
        let mut next = Vec::new();
        for user_id in &level {
            next.extend(mapped_from(user_id)?);
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    #[derive(Default)]
    struct Map(BTreeMap<String, String>);

    impl Map {
        fn check(&self, user_id: &str, global: &str) -> Result<(), Refused> {
            let to = |id: &str| Ok::<_, Infallible>(self.0.get(id).cloned());
            let from = |id: &str| {
                let mapped = self.0.iter().filter(|(_, to)| *to == id);
                Ok(mapped.map(|(from, _)| from.clone()).collect())
            };
            check(user_id, global, to, from).unwrap()
        }

        fn map(&mut self, user_id: &str, global: &str) -> Result<(), Refused> {
            self.check(user_id, global)?;
            self.0.insert(user_id.into(), global.into());
            Ok(())
        }

        fn end_of(&self, user_id: &str) -> String {
            end_of(user_id, |id| Ok::<_, Infallible>(self.0.get(id).cloned())).unwrap()
        }
    }

    #[test]
    fn chains_lead_to_their_last_user_id_and_cycles_are_refused() {
        let mut map = Map::default();
        map.map("a", "b").unwrap();
        map.map("b", "c").unwrap();
        assert_eq!((map.end_of("a").as_str(), map.end_of("x").as_str()), ("c", "x"));
        assert_eq!(map.map("c", "a"), Err(Refused::Cycle));
        assert_eq!(map.map("a", "a"), Err(Refused::Itself));
        map.map("a", "d").unwrap();
        map.map("c", "a").unwrap();
        assert_eq!(map.end_of("b"), "d");
    }

    #[test]
    fn a_chain_has_eight_hops_whichever_end_it_grows_at() {
        let name = |number: usize| format!("u{number}");
        let mut down = Map::default();
        for hop in 0..HOPS_MAX {
            down.map(&name(hop), &name(hop + 1)).unwrap();
        }
        assert_eq!(down.map(&name(8), &name(9)), Err(Refused::TooLong));
        assert_eq!(down.map("above", &name(0)), Err(Refused::TooLong));
        assert_eq!(down.map("above", &name(1)), Ok(()));
        assert_eq!(down.end_of(&name(0)), name(8));
    }

    proptest! {
        /// Whatever is tried, every chain ends within its bound at somebody who is not mapped.
        #[test]
        fn what_is_allowed_always_ends(tried in prop::collection::vec((0u8..12, 0u8..12), 0..60)) {
            let mut map = Map::default();
            for (user, global) in tried {
                map.map(&user.to_string(), &global.to_string()).ok();
            }
            for user in 0..12u8 {
                let end = map.end_of(&user.to_string());
                prop_assert!(!map.0.contains_key(&end), "{user} ends at {end}");
            }
        }
    }
}

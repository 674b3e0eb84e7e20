//! The comparison that the proofs of delivery rest on finds what it is there to find.

use crate::harness::comparison::{Comparison, Evidence, Listed, Uids};
use std::collections::BTreeMap;

fn uids(text: &str) -> Uids {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `a*2` is there twice.
fn counted(text: &str) -> BTreeMap<String, u64> {
    let count = |word: &str| match word.split_once('*') {
        Some((uid, count)) => (uid.to_owned(), count.parse().unwrap()),
        None => (word.to_owned(), 1),
    };
    text.split_whitespace().map(count).collect()
}

fn evidence(sent: &str, acknowledged: &str, arrived: &str, accounted: &str) -> Evidence {
    Evidence {
        sent: uids(sent),
        acknowledged: uids(acknowledged),
        arrived: counted(arrived),
        accounted: uids(accounted),
    }
}

#[test]
fn what_was_acknowledged_and_arrived_once_is_right() {
    let compared = evidence("a b c", "a b", "a b", "").compare();
    assert_eq!(compared, Comparison::default(), "c was not acknowledged: it may be absent");
    let compared = evidence("a b c", "a b", "a b c", "").compare();
    assert_eq!(compared, Comparison::default(), "or there");
}

#[test]
fn what_was_acknowledged_and_is_absent_is_lost_unless_it_is_accounted_for() {
    let compared = evidence("a b c", "a b c", "a", "c").compare();
    assert_eq!(compared, Comparison { lost: uids("b"), ..Comparison::default() });
}

#[test]
fn what_is_there_twice_is_doubled_and_what_was_never_sent_is_invented() {
    let compared = evidence("a b c", "a b", "a*2 b c*3 d", "").compare();
    assert_eq!(compared.doubled, counted("a*2 c*3"));
    assert_eq!(compared.invented, uids("d"));
    assert_eq!(compared.lost, uids(""));
    assert_eq!(compared.extra(), 3);
}

#[test]
fn what_is_doubled_must_be_listed_by_name_or_by_number() {
    let compared = evidence("a b c", "a b c", "a*2 b*3 c", "").compare();
    let unlisted = |listed| compared.unlisted(&listed);
    assert_eq!(unlisted(Listed::Uids(uids("a b c"))), 0, "a list may be longer");
    assert_eq!(unlisted(Listed::Uids(uids("a c"))), 1);
    assert_eq!(unlisted(Listed::Count(3)), 0);
    assert_eq!(unlisted(Listed::Count(1)), 2, "every occurrence beyond the first counts");
    assert_eq!(evidence("a", "a", "a", "").compare().unlisted(&Listed::Count(0)), 0);
    assert_eq!((Listed::Uids(uids("a b")).len(), Listed::Count(7).len()), (2, 7));
}

#[test]
fn kinds_of_events_are_compared_apart() {
    let all = evidence("p-a p-b o-a", "p-a p-b o-a", "p-a*2 o-b", "o-a");
    let one = all.only(|uid| uid.starts_with("p-")).compare();
    assert_eq!(one.lost, uids("p-b"));
    assert_eq!(one.doubled, counted("p-a*2"));
    assert_eq!(one.invented, uids(""));
    let other = all.only(|uid| uid.starts_with("o-")).compare();
    assert_eq!((other.lost, other.invented), (uids(""), uids("o-b")));
}

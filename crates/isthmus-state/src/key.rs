//! Parts that keys are made of, so that keys sort as what they stand for.

/// The name and, before it, its length: no name is the beginning of another's keys.
pub(crate) fn put_name(key: &mut Vec<u8>, name: &str) {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    key.extend(length.to_be_bytes());
    key.extend(name.as_bytes());
}

/// Splits a name that [`put_name`] put off the front of `key`.
pub(crate) fn split_name(key: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (name, rest) = rest.split_at_checked(length)?;
    Some((str::from_utf8(name).ok()?, rest))
}

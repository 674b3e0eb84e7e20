//! Comparing what somebody gave with what opens.

/// Whether both are the same. Looks at every byte whatever the first difference, so that timing
/// tells nothing but the length.
pub(crate) fn matches(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |sum, (one, other)| sum | (one ^ other));
    given.len() == secret.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn only_the_whole_secret_matches() {
        assert!(matches(b"secret", b"secret"));
        for wrong in ["", "secre", "secretly", "Secret", "secres"] {
            assert!(!matches(wrong.as_bytes(), b"secret"), "{wrong}");
        }
    }
}

//! Request bodies: decompressed within a bound.

use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::io::Read;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// More bytes than allowed, before or after decompression.
    TooLarge,
    /// Not the compressed stream that its header announced.
    Corrupt,
}

/// The body as it was before compression, at most `max` bytes of it.
///
/// Decompression stops at the bound, so a small body cannot grow without limit.
pub(super) fn plain<'a>(
    body: &'a [u8],
    encoding: Option<&str>,
    max: usize,
) -> Result<Cow<'a, [u8]>, BodyError> {
    if body.len() > max {
        return Err(BodyError::TooLarge);
    }
    match encoding.map(str::trim) {
        None | Some("") => return Ok(Cow::Borrowed(body)),
        Some(name) if name.eq_ignore_ascii_case("identity") => return Ok(Cow::Borrowed(body)),
        Some(name) if name.eq_ignore_ascii_case("gzip") => {}
        Some(_) => return Err(BodyError::Corrupt),
    }
    let mut text = Vec::with_capacity((body.len() * 4).min(max));
    let limit = max as u64 + 1;
    let read = MultiGzDecoder::new(body).take(limit).read_to_end(&mut text);
    match read {
        Ok(_) if text.len() > max => Err(BodyError::TooLarge),
        Ok(_) => Ok(Cow::Owned(text)),
        Err(_) => Err(BodyError::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_cut_off_at_the_bound() {
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 1_000_000);
        assert_eq!(plain(&bomb, Some("gzip"), 1_000_000), Err(BodyError::TooLarge));
    }

    #[test]
    fn truncated_and_unknown_encodings_are_corrupt() {
        let packed = gzip(b"{\"events\":[]}");
        assert_eq!(plain(&packed[..packed.len() - 6], Some("gzip"), 100), Err(BodyError::Corrupt));
        assert_eq!(plain(b"{}", Some("gzip"), 100), Err(BodyError::Corrupt));
        assert_eq!(plain(b"{}", Some("br"), 100), Err(BodyError::Corrupt));
        assert_eq!(plain(b"{}", Some("Identity"), 100), Ok(Cow::Borrowed(&b"{}"[..])));
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(bytes: Vec<u8>) {
            let packed = gzip(&bytes);
            prop_assume!(packed.len() <= 10_000);
            let unpacked = plain(&packed, Some("GZIP"), 10_000);
            prop_assert_eq!(unpacked, Ok(Cow::Owned(bytes)));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            drop(plain(&bytes, Some("gzip"), 1_000));
        }
    }
}

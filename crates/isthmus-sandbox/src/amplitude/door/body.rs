//! Request bodies: decompressed within a bound.

use flate2::read::MultiGzDecoder;
use isthmus_amplitude::{EndpointRules, Refusal};
use std::borrow::Cow;
use std::io::Read;

/// The body as it was before compression. Decompression stops at the bound.
pub(super) fn plain<'a>(
    body: &'a [u8],
    encoding: Option<&str>,
    rules: &EndpointRules,
) -> Result<Cow<'a, [u8]>, Refusal> {
    let encoding = encoding.map_or("", str::trim);
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(Cow::Borrowed(body));
    }
    if !encoding.eq_ignore_ascii_case("gzip") {
        return Err(Refusal::InvalidJson);
    }
    let max = rules.body_max.as_u64();
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(body).take(max.saturating_add(1)).read_to_end(&mut text);
    match read {
        Ok(read) if read as u64 > max => Err(Refusal::TooLarge),
        Ok(_) => Ok(Cow::Owned(text)),
        Err(_) => Err(Refusal::InvalidJson),
    }
}

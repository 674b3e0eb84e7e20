//! The little of `multipart/form-data` (RFC 7578) that a form of text fields needs.

/// Longest boundary, from RFC 2046; it bounds the work of looking for it.
const BOUNDARY_LENGTH_MAX: usize = 70;

/// The boundary, when `content_type` is multipart form data that names one.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary")
        .filter(|boundary| (1..=BOUNDARY_LENGTH_MAX).contains(&boundary.len()))
}

/// Names and values of the text parts of `body`; parts that are not UTF-8 are left out.
pub(super) fn parts<'a>(
    body: &'a [u8],
    boundary: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut rest = after_delimiter(body, boundary).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let next = after_delimiter(rest, boundary)?;
            let part = rest.get(..rest.len() - next.len() - boundary.len() - 2)?;
            rest = next;
            if let Some(field) = field(part) {
                return Some(field);
            }
        }
    })
}

/// Name and value of one part, which lies between two delimiters.
fn field(part: &[u8]) -> Option<(&str, &str)> {
    let part = std::str::from_utf8(part).ok()?;
    let part = part.strip_suffix("\r\n").or_else(|| part.strip_suffix('\n'))?;
    let (headers, value) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n"))?;
    let disposition = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (_, parameters) = disposition.split_once(';')?;
    Some((parameter(parameters, "name")?, value))
}

/// The value of the parameter `wanted` of a header, without quotes.
fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
    })
}

/// What follows the first `--boundary` in `bytes`.
fn after_delimiter<'a>(bytes: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let length = boundary.len() + 2;
    let at = bytes
        .windows(length)
        .position(|window| window.starts_with(b"--") && window.ends_with(boundary.as_bytes()))?;
    bytes.get(at + length..)
}

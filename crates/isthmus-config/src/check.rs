//! What is asked of single values, beyond being of the right type.

#![expect(
    clippy::ptr_arg,
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "a check is a function of the very type of its field"
)]

use crate::decode::Wrong;
use crate::diagnostic::{clip, meant};
use jiff::tz::TimeZoneDatabase;
use std::net::IpAddr;
use std::time::Duration;
use url::{Host, Url};

/// Characters of a name: it is a metric label, a path segment and a table cell.
const NAME_CHARACTERS_MAX: usize = 100;

/// Longest advice of Braze for the gap between dependent calls to different endpoints ("API
/// overview", read 2026-09).
const SETTLING_MAX: Duration = Duration::from_mins(5);

/// A name that people give to a resource.
pub(crate) fn name(name: &String) -> Result<(), Wrong> {
    not_blank(name)?;
    if name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Wrong::new(format!("has more than {NAME_CHARACTERS_MAX} characters")));
    }
    if name.trim() != name {
        return Err(Wrong::new(format!("begins or ends with white space: \"{}\"", clip(name))));
    }
    if let Some(bad) = name.chars().find(|c| c.is_control() || *c == '/') {
        return Err(Wrong::new(format!("may not contain {bad:?}")));
    }
    Ok(())
}

pub(crate) fn not_blank(text: &String) -> Result<(), Wrong> {
    if text.trim().is_empty() { Err(Wrong::new("is empty")) } else { Ok(()) }
}

/// Not blank, where it is given.
pub(crate) fn none_or_not_blank(text: &Option<String>) -> Result<(), Wrong> {
    text.as_ref().map_or(Ok(()), not_blank)
}

/// Not zero, nor anything like it.
pub(crate) fn not_zero<T: Default + PartialEq>(value: &T) -> Result<(), Wrong> {
    if *value == T::default() { Err(Wrong::new("must be more than zero")) } else { Ok(()) }
}

/// Not zero, where it is given.
pub(crate) fn none_or_not_zero<T: Default + PartialEq>(value: &Option<T>) -> Result<(), Wrong> {
    value.as_ref().map_or(Ok(()), not_zero)
}

/// A part of a whole: more than nothing, at most all of it.
pub(crate) fn share(share: &f64) -> Result<(), Wrong> {
    if *share > 0.0 && *share <= 1.0 {
        return Ok(());
    }
    let wrong = Wrong::new(format!("must be more than 0 and at most 1, found `{share}`"));
    let is_percentage = (1.0..=100.0).contains(share);
    Err(if is_percentage {
        wrong.hint(format!("write {} for {share} %", share / 100.0))
    } else {
        wrong
    })
}

/// Days that a deletion may wait.
pub(crate) fn days_to_wait(days: &u32) -> Result<(), Wrong> {
    if *days <= 30 {
        return Ok(());
    }
    Err(Wrong::new(format!("must be from 0 to 30 days, found `{days}`")))
}

/// A status that an answer may have.
pub(crate) fn http_status(status: &u32) -> Result<(), Wrong> {
    if (200..600).contains(status) {
        return Ok(());
    }
    Err(Wrong::new(format!("must be an HTTP status from 200 to 599, found `{status}`")))
}

/// A wait between two calls: no longer than the vendor advises.
pub(crate) fn settling(wait: &Duration) -> Result<(), Wrong> {
    if *wait <= SETTLING_MAX {
        return Ok(());
    }
    Err(Wrong::new("must be at most 5m"))
}

/// A key that travels in requests.
pub(crate) fn api_key(key: &String) -> Result<(), Wrong> {
    not_blank(key)?;
    if key.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Wrong::new("may only have visible ASCII characters"))
}

/// The IANA name of a time zone.
pub(crate) fn time_zone(name: &String) -> Result<(), Wrong> {
    let zones = TimeZoneDatabase::bundled();
    if zones.get(name).is_ok() {
        return Ok(());
    }
    let wrong = Wrong::new(format!("must be an IANA time zone, found `{}`", clip(name)));
    let names: Vec<_> = zones.available().map(|zone| zone.as_str().to_owned()).collect();
    let names = || names.iter().map(String::as_str);
    let city = name.replace(' ', "_");
    let is_city = |zone: &&str| {
        zone.rsplit_once('/').is_some_and(|(_, last)| last.eq_ignore_ascii_case(&city))
    };
    Err(match names().find(is_city).or_else(|| meant(name, names())) {
        Some(near) => wrong.hint(format!("did you mean `{near}`?")),
        None => wrong.hint("write a name like Asia/Tokyo, or UTC"),
    })
}

/// The base URL of a REST endpoint, or the name of a Braze instance, whose table is not here.
pub(crate) fn endpoint(text: &String) -> Result<(), Wrong> {
    not_blank(text)?;
    if !text.contains("://") {
        let looks_like_host = text.contains(['.', ':', '/']);
        let wrong = || Wrong::new(format!("has no scheme: `{}`", clip(text)));
        let with_scheme =
            || format!("write https://{}, or the name of an instance like US-05", clip(text));
        return if looks_like_host { Err(wrong().hint(with_scheme())) } else { Ok(()) };
    }
    if text.contains('@') {
        return Err(Wrong::new("may not carry a user name or a password"));
    }
    let url = Url::parse(text)
        .map_err(|error| Wrong::new(format!("is not a URL: `{}`: {error}", clip(text))))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Wrong::new(format!(
            "must begin with https:// or http://, found `{}`",
            clip(text)
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::new(format!("may not have a query or a fragment: `{}`", clip(text))));
    }
    Ok(())
}

/// Where files are: a bucket, a folder, or a path.
pub(crate) fn files_url(url: &String) -> Result<(), Wrong> {
    not_blank(url)?;
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(()) };
    match (scheme, rest.split('/').next().unwrap_or_default()) {
        ("s3", "") => Err(Wrong::new(format!("names no bucket: `{}`", clip(url)))
            .hint("write s3://BUCKET/PREFIX")),
        ("s3", _) if rest.contains(['?', '#', '@']) => Err(Wrong::new(format!(
            "may not have a query, a fragment or credentials: `{}`",
            clip(url)
        ))),
        ("s3", _) | ("file", "") => Ok(()),
        ("file", _) => Err(Wrong::new(format!("names a machine: `{}`", clip(url)))
            .hint("write file:///FOLDER, with three strokes")),
        _ => {
            Err(Wrong::new(format!("must be a folder or begin with s3://, found `{}`", clip(url))))
        }
    }
}

/// The address of something that speaks HTTP, where it is given.
pub(crate) fn none_or_web_address(address: &Option<String>) -> Result<(), Wrong> {
    let Some(address) = address else { return Ok(()) };
    let url = Url::parse(address)
        .map_err(|error| Wrong::new(format!("is not a URL: `{}`: {error}", clip(address))))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Wrong::new(format!(
            "must begin with https:// or http://, found `{}`",
            clip(address)
        )));
    }
    if url.username() != "" || url.password().is_some() {
        return Err(Wrong::new("may not carry a user name or a password"));
    }
    Ok(())
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(endpoint: &str) -> bool {
    let url = Url::parse(endpoint).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

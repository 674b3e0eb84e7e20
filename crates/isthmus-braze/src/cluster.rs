//! Where a Braze workspace answers: a table of instances, or any base URL.
//!
//! The host is never derived from the label: the naming follows no rule (`iad`, `us`, `fra`,
//! country codes). A free URL serves the sandbox, proxies and clusters younger than this table.

use url::Url;

/// Instance label and REST host ("API overview", Braze documentation, read 2026-09; US-09 and EU-03
/// from the sources of public integrations).
const CLUSTERS: [(&str, &str); 17] = [
    ("US-01", "rest.iad-01.braze.com"),
    ("US-02", "rest.iad-02.braze.com"),
    ("US-03", "rest.iad-03.braze.com"),
    ("US-04", "rest.iad-04.braze.com"),
    ("US-05", "rest.iad-05.braze.com"),
    ("US-06", "rest.iad-06.braze.com"),
    ("US-07", "rest.iad-07.braze.com"),
    ("US-08", "rest.iad-08.braze.com"),
    ("US-09", "rest.us-09.braze.com"),
    ("US-10", "rest.us-10.braze.com"),
    ("EU-01", "rest.fra-01.braze.eu"),
    ("EU-02", "rest.fra-02.braze.eu"),
    ("EU-03", "rest.fra-03.braze.eu"),
    ("AU-01", "rest.au-01.braze.com"),
    ("ID-01", "rest.id-01.braze.com"),
    ("JP-01", "rest.jp-01.braze.com"),
    ("KR-01", "rest.kr-01.braze.com"),
];

/// An endpoint that cannot be used: what is wrong, and what to write instead when we know it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EndpointError {
    pub message: String,
    pub hint: Option<String>,
}

/// The base URL, without a slash at its end, for an instance label (`US-05`, in any case), a host
/// (`rest.iad-05.braze.com`, taken as HTTPS) or an `http` or `https` URL.
pub fn base_url(endpoint: &str) -> Result<String, EndpointError> {
    let endpoint = endpoint.trim();
    if let Some((_, host)) = CLUSTERS.iter().find(|(label, _)| label.eq_ignore_ascii_case(endpoint))
    {
        return Ok(format!("https://{host}"));
    }
    if endpoint.contains("://") {
        from_url(endpoint)
    } else if endpoint.contains('.') {
        from_url(&format!("https://{endpoint}"))
    } else {
        Err(EndpointError {
            message: format!("`{endpoint}` is neither a Braze instance nor a URL"),
            hint: Some(nearest(endpoint)),
        })
    }
}

fn from_url(text: &str) -> Result<String, EndpointError> {
    let wrong = |message: String, hint: &str| EndpointError {
        message,
        hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
    };
    let url = Url::parse(text)
        .map_err(|error| wrong(format!("`{text}` is not a URL: {error}"), "write https://HOST"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("`{text}` is not an http or https URL"), "write https://HOST"));
    }
    let host = url.host_str().unwrap_or_default();
    if host.starts_with("sdk.") && host.contains(".braze.") {
        let hint = format!("did you mean `{}`?", host.replacen("sdk.", "rest.", 1));
        return Err(wrong(format!("`{host}` is an SDK host; the REST host is needed"), &hint));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "the endpoint holds a user name or password".to_owned(),
            "Braze takes only the REST API key: see `rest_key`",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(format!("`{text}` has a query or a fragment"), "write https://HOST"));
    }
    let base = url.as_str().trim_end_matches('/');
    if let Some(base) = base.strip_suffix("/users/track") {
        let hint = format!("write `{base}`");
        return Err(wrong(format!("`{text}` names one API; the base URL is needed"), &hint));
    }
    Ok(base.to_owned())
}

/// A hint with the labels close to `endpoint`, or with all of them.
fn nearest(endpoint: &str) -> String {
    let written: Vec<char> = endpoint.to_ascii_uppercase().chars().take(16).collect();
    let distance = |label: &str| edit_distance(&written, &label.chars().collect::<Vec<_>>());
    let close: Vec<&str> =
        CLUSTERS.iter().map(|(label, _)| *label).filter(|label| distance(label) <= 1).collect();
    if close.is_empty() {
        let all: Vec<&str> = CLUSTERS.iter().map(|(label, _)| *label).collect();
        format!("known instances: {}; or write the REST URL", all.join(", "))
    } else {
        format!("did you mean `{}`?", close.join("` or `"))
    }
}

/// Levenshtein's distance: insertions, deletions and replacements between two short texts.
fn edit_distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, a) in from.iter().enumerate() {
        let mut above_left = deleted;
        let mut left = deleted + 1;
        for (b, cell) in to.iter().zip(row.iter_mut().skip(1)) {
            let replaced = above_left + usize::from(a != b);
            above_left = *cell;
            left = replaced.min(above_left + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = deleted + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn told(endpoint: &str) -> String {
        match base_url(endpoint) {
            Ok(url) => url,
            Err(error) => format!("{error}; hint: {}", error.hint.as_deref().unwrap_or("none")),
        }
    }

    #[test]
    fn labels_hosts_and_urls_lead_to_the_base_url() {
        for (endpoint, url) in [
            ("US-05", "https://rest.iad-05.braze.com"),
            (" us-10 ", "https://rest.us-10.braze.com"),
            ("EU-01", "https://rest.fra-01.braze.eu"),
            ("jp-01", "https://rest.jp-01.braze.com"),
            ("rest.iad-11.braze.com", "https://rest.iad-11.braze.com"),
            ("http://127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("http://127.0.0.1:8500/", "http://127.0.0.1:8500"),
            ("https://proxy.example/braze/", "https://proxy.example/braze"),
        ] {
            assert_eq!(base_url(endpoint).as_deref(), Ok(url), "{endpoint}");
        }
    }

    #[test]
    fn an_unknown_label_is_answered_with_close_ones() {
        assert_snapshot!(told("EU-1"), @"`EU-1` is neither a Braze instance nor a URL; hint: did you mean `EU-01`?");
        assert_snapshot!(told("US05"), @"`US05` is neither a Braze instance nor a URL; hint: did you mean `US-05`?");
        assert_snapshot!(told("mars"), @"`mars` is neither a Braze instance nor a URL; hint: known instances: US-01, US-02, US-03, US-04, US-05, US-06, US-07, US-08, US-09, US-10, EU-01, EU-02, EU-03, AU-01, ID-01, JP-01, KR-01; or write the REST URL");
    }

    #[test]
    fn urls_that_cannot_be_a_base_are_refused() {
        assert_snapshot!(told("https://sdk.iad-05.braze.com"), @"`sdk.iad-05.braze.com` is an SDK host; the REST host is needed; hint: did you mean `rest.iad-05.braze.com`?");
        assert_snapshot!(told("ftp://rest.iad-05.braze.com"), @"`ftp://rest.iad-05.braze.com` is not an http or https URL; hint: write https://HOST");
        assert_snapshot!(told("https://key@rest.iad-05.braze.com"), @"the endpoint holds a user name or password; hint: Braze takes only the REST API key: see `rest_key`");
        assert_snapshot!(told("https://rest.iad-05.braze.com?x=1"), @"`https://rest.iad-05.braze.com?x=1` has a query or a fragment; hint: write https://HOST");
        assert_snapshot!(told("https://rest.iad-05.braze.com/users/track"), @"`https://rest.iad-05.braze.com/users/track` names one API; the base URL is needed; hint: write `https://rest.iad-05.braze.com`");
        assert_snapshot!(told("https://"), @"`https://` is not a URL: empty host; hint: write https://HOST");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            drop(base_url(&text));
        }
    }
}

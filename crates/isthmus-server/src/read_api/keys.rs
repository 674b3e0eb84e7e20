//! Whose project a request may read.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use isthmus_config::Secret;
use isthmus_config::resource::Project;
use isthmus_config::secret::matches;
use std::collections::BTreeMap;

/// Projects by their API keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    projects: BTreeMap<String, Reader>,
}

#[derive(Debug)]
struct Reader {
    project: String,
    /// A project without one answers nobody.
    secret: Option<Secret>,
}

impl Keys {
    /// The keys of `projects`, whose secrets are in `secrets` by name of the project.
    pub(super) fn of(projects: &[Project], secrets: &BTreeMap<String, Secret>) -> Self {
        let reader = |project: &Project| {
            let secret = secrets.get(&project.name).cloned();
            (project.api_key.clone(), Reader { project: project.name.clone(), secret })
        };
        Self { projects: projects.iter().map(reader).collect() }
    }

    /// Every project.
    pub(super) fn projects(&self) -> impl Iterator<Item = &str> {
        self.projects.values().map(|reader| &*reader.project)
    }

    /// Whether there are credentials in `headers` whose API key is no project's.
    pub(super) fn is_unknown(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = header.and_then(credentials);
        given.is_some_and(|(api_key, _)| !self.projects.contains_key(&api_key))
    }

    /// The project that the credentials in `headers` open, or why they do not.
    pub(super) fn project(&self, headers: &HeaderMap) -> Result<&str, &'static str> {
        const WANTED: &str =
            "credentials are missing: send Basic authentication with API key and secret key";
        let header = headers.get(header::AUTHORIZATION).ok_or(WANTED)?;
        let (api_key, secret_key) =
            header.to_str().ok().and_then(credentials).ok_or("credentials cannot be read")?;
        self.project_of(&api_key, &secret_key)
    }

    /// The project that these keys open, or why they do not.
    pub(super) fn project_of(&self, api_key: &str, secret_key: &str) -> Result<&str, &'static str> {
        const WRONG: &str = "API key or secret key is wrong";
        let reader = self.projects.get(api_key).ok_or(WRONG)?;
        let Some(secret) = &reader.secret else {
            return Err("the project has no secret key, so nobody can read it");
        };
        if matches(secret_key.as_bytes(), secret.expose().as_bytes()) {
            Ok(&reader.project)
        } else {
            Err(WRONG)
        }
    }
}

/// API key and secret key of `Basic base64(api_key ":" secret_key)`.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (api_key, secret_key) = text.split_once(':')?;
    Some((api_key.to_owned(), secret_key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn keys() -> Keys {
        let reader = |project: &str, secret: Option<&str>| Reader {
            project: project.to_owned(),
            secret: secret.map(Secret::new),
        };
        let projects = [
            ("shop-key".to_owned(), reader("shop", Some("hush"))),
            ("open-key".to_owned(), reader("open", None)),
        ];
        Keys { projects: projects.into() }
    }

    fn opened(header: &str) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        keys().project(&headers).map(str::to_owned)
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn the_right_pair_opens_its_project() {
        assert_eq!(opened(&basic("shop-key:hush")).as_deref(), Ok("shop"));
        assert_eq!(
            opened(&basic("shop-key:hush").replace("Basic", "bAsic")).as_deref(),
            Ok("shop")
        );
    }

    #[test]
    fn nothing_else_opens_one() {
        for pair in ["shop-key:", "shop-key:hus", "shop-key:hush:", "nobody:hush", ":", "open-key:"]
        {
            assert!(opened(&basic(pair)).is_err(), "{pair}");
        }
        for header in ["Basic", "Basic !", "Bearer hush", "Basic c2hvcC1rZXk=", ""] {
            assert_eq!(opened(header), Err("credentials cannot be read"), "{header}");
        }
        let missing = keys().project(&HeaderMap::new()).unwrap_err().to_owned();
        assert!(missing.starts_with("credentials are missing"));
    }
}

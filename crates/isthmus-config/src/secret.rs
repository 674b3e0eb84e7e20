//! Secrets by reference, and never shown.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a secret file; keys are short, and a wrong path may name anything.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// `{ env: BRAZE_REST_KEY }`: an environment variable.
    Env(String),
    /// `{ file: braze.key }`: a file, relative to the file that names it.
    File(PathBuf),
    /// The secret itself; for a sandbox on this machine only.
    Literal(Secret),
}

impl SecretRef {
    /// Fetches the secret: variables through `variable`, relative files from `folder`.
    ///
    /// White space around it is not part of it, so a file may end with a new line.
    pub fn resolve(
        &self,
        variable: impl Fn(&str) -> Option<String>,
        folder: &Path,
    ) -> Result<Secret, SecretError> {
        let text = match self {
            Self::Literal(secret) => return Ok(secret.clone()),
            Self::Env(name) => {
                variable(name).ok_or_else(|| SecretError::Unset { name: name.clone() })?
            }
            Self::File(path) => {
                let path = folder.join(path);
                read_bounded(&path).map_err(|source| SecretError::Unreadable { path, source })?
            }
        };
        let secret = text.trim();
        if secret.is_empty() {
            return Err(SecretError::Empty { reference: self.to_string() });
        }
        Ok(Secret::new(secret))
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        let size = isthmus_core::ByteSize::bytes(FILE_BYTES_MAX);
        Err(std::io::Error::other(format!("larger than {size}, so not a secret")))
    }
}

/// `environment variable X`, `file x.key` or `***`.
impl fmt::Display for SecretRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(out, "environment variable {name}"),
            Self::File(path) => write!(out, "file {}", path.display()),
            Self::Literal(secret) => secret.fmt(out),
        }
    }
}

/// A secret that cannot be fetched; the operator acts.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable {name} is not set")]
    Unset { name: String },
    #[error("file {path} cannot be read", path = .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{reference} is empty")]
    Empty { reference: String },
}

/// A secret; shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Whether both are the same. Looks at every byte whatever the first difference, so that timing
/// tells nothing but the length.
pub fn matches(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |sum, (one, other)| sum | (one ^ other));
    given.len() == secret.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("k-1\n".to_owned()),
            "BLANK" => Some("  ".to_owned()),
            _ => None,
        }
    }

    fn resolve(reference: &SecretRef, folder: &Path) -> String {
        match reference.resolve(variables, folder) {
            Ok(secret) => format!("found {}", secret.expose()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_secret_comes_from_a_variable_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("braze.key"), "k-2\r\n").unwrap();
        std::fs::write(folder.path().join("huge.key"), "x".repeat(100_000)).unwrap();
        let env = |name: &str| resolve(&SecretRef::Env(name.to_owned()), folder.path());
        assert_eq!(env("KEY"), "found k-1");
        assert_eq!(env("NONE"), "environment variable NONE is not set");
        assert_eq!(env("BLANK"), "environment variable BLANK is empty");
        let file = |name: &str| resolve(&SecretRef::File(name.into()), folder.path());
        assert_eq!(file("braze.key"), "found k-2");
        assert!(file("absent.key").ends_with("absent.key cannot be read"));
        assert!(file("huge.key").ends_with("huge.key cannot be read"));
    }

    #[test]
    fn only_the_whole_secret_matches() {
        assert!(matches(b"secret", b"secret"));
        for wrong in ["", "secre", "secretly", "Secret", "secres"] {
            assert!(!matches(wrong.as_bytes(), b"secret"), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let reference = SecretRef::Literal(Secret::new("hush"));
        assert_eq!(format!("{reference} {reference:?}"), "*** Literal(***)");
    }
}

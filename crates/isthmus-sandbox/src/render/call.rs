//! The tag `connected_content`: its options as written, and one call with everything filled in.
//!
//! Source: "Making a Connected Content call", Braze documentation, read 2026-09.

use super::TemplateError;
use super::source::{WrittenCall, split_braces, split_word};
use super::template::Template;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use isthmus_core::seam::Method;
use liquid_core::Runtime;
use liquid_core::error::Error;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a page may be cached; a time outside is moved to the nearer end.
const CACHE_SECONDS: RangeInclusive<u64> = 300..=14_400;
/// Holds the answer when `:save` names no other variable.
const SAVE_AS: &str = "connected";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Whether the answer to a call may come from the cache, and go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    Off,
    For(Duration),
}

/// A credential by its name, as the tag asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wants {
    Basic(String),
    Headers(String),
}

/// A call as it is made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) wants: Option<Wants>,
    pub(super) caching: Caching,
    pub(super) retry: bool,
    /// Whether `:save` is there.
    pub(super) saves: bool,
}

/// A tag as it was written.
#[derive(Debug)]
pub(super) struct CallTemplate {
    url: Template,
    options: Options,
}

#[derive(Debug, Default)]
struct Options {
    save: Option<String>,
    is_post: bool,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
    content_type: Option<String>,
    wants: Option<Wants>,
    cache_max_age: Option<Duration>,
    no_cache: bool,
    retry: bool,
}

impl CallTemplate {
    pub(super) fn read(
        written: &WrittenCall,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TemplateError> {
        let line = written.line;
        // Editors insert non-breaking spaces, which Braze strips.
        let text = written.text.replace('\u{a0}', "");
        let (url, mut rest) = split_word(text.trim());
        if url.is_empty() || url.starts_with(':') {
            return Err(TemplateError::on(line, "`connected_content` needs a URL first"));
        }
        let mut options = Options::default();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let (name, after) = split_word(rest);
            rest = options.take(name, after.trim_start(), line, warnings)?;
        }
        let mut url = Template::part(url, line)?;
        warnings.append(&mut url.warnings);
        Ok(Self { url, options })
    }

    /// The variable for the answer.
    pub(super) fn save_as(&self) -> &str {
        self.options.save.as_deref().unwrap_or(SAVE_AS)
    }

    /// The call with all values in their places.
    pub(super) fn fill(&self, runtime: &dyn Runtime) -> Result<Call, Error> {
        let options = &self.options;
        let mut headers = HeaderMap::new();
        let default = if options.is_post { FORM } else { JSON };
        let content_type = options.content_type.as_deref().unwrap_or(default);
        headers.insert(header::CONTENT_TYPE, value_of(content_type)?);
        let accept = options.content_type.as_deref().unwrap_or("*/*");
        headers.insert(header::ACCEPT, value_of(accept)?);
        for (name, value) in &options.headers {
            headers.insert(name, value_of(&value.fill(runtime)?)?);
        }
        let body = match &options.body {
            Some(body) => body.fill(runtime)?.trim().to_owned(),
            None => String::new(),
        };
        let is_json = content_type.split(';').next().is_some_and(|mime| mime.trim() == JSON);
        let body = if is_json { form_as_json(&body).unwrap_or(body) } else { body };
        let caching = match options.cache_max_age {
            _ if options.no_cache => Caching::Off,
            Some(age) => Caching::For(age),
            None if options.is_post => Caching::Off,
            None => Caching::For(Duration::from_secs(*CACHE_SECONDS.start())),
        };
        Ok(Call {
            method: if options.is_post { Method::Post } else { Method::Get },
            url: self.url.fill(runtime)?.trim().to_owned(),
            headers,
            body: body.into(),
            wants: options.wants.clone(),
            caching,
            retry: options.retry,
            saves: options.save.is_some(),
        })
    }
}

fn value_of(text: &str) -> Result<HeaderValue, Error> {
    let value = HeaderValue::from_str(text);
    let mut value =
        value.map_err(|_| Error::with_msg("a header's value has a line break in it"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `k=v&k2=v2` as a JSON object of texts, which is what Braze sends when the content type is JSON.
fn form_as_json(body: &str) -> Option<String> {
    if body.is_empty() || body.starts_with(['{', '[', '"']) {
        return None;
    }
    let pairs = body.split('&').map(|pair| pair.split_once('='));
    let pairs = pairs.map(|pair| pair.map(|(name, value)| (name.to_owned(), Value::from(value))));
    Some(Value::Object(pairs.collect::<Option<Map<_, _>>>()?).to_string())
}

impl Options {
    /// Takes the option `name`, whose value is at the beginning of `after`; returns what is left.
    fn take<'a>(
        &mut self,
        name: &str,
        after: &'a str,
        line: usize,
        warnings: &mut Vec<String>,
    ) -> Result<&'a str, TemplateError> {
        match name {
            ":retry" => {
                self.retry = true;
                return Ok(after);
            }
            ":no_cache" => {
                self.no_cache = true;
                return Ok(after);
            }
            ":headers" => return self.take_headers(after, line, warnings),
            ":body" => return self.take_body(after, line, warnings),
            _ => {}
        }
        let (value, rest) = split_word(after);
        if name.starts_with(':') && (value.is_empty() || value.starts_with(':')) {
            return Err(TemplateError::on(line, &format!("`{name}` is unknown or has no value")));
        }
        match name {
            ":save" => self.save = Some(value.to_owned()),
            ":content_type" => self.content_type = Some(value.to_owned()),
            ":basic_auth" => self.wants = Some(Wants::Basic(value.to_owned())),
            ":auth_credentials" => self.wants = Some(Wants::Headers(value.to_owned())),
            ":method" => {
                self.is_post = match value.to_ascii_lowercase().as_str() {
                    "get" => false,
                    "post" => true,
                    _ => {
                        let text = format!("`:method {value}`: only get and post exist");
                        return Err(TemplateError::on(line, &text));
                    }
                }
            }
            ":cache_max_age" => {
                let seconds: u64 = value.parse().map_err(|_| {
                    TemplateError::on(line, &format!("`{name} {value}`: not a number of seconds"))
                })?;
                let allowed = seconds.clamp(*CACHE_SECONDS.start(), *CACHE_SECONDS.end());
                if allowed != seconds {
                    warnings
                        .push(format!("line {line}: `{name} {seconds}` means {allowed} seconds"));
                }
                self.cache_max_age = Some(Duration::from_secs(allowed));
            }
            _ => {
                let text = format!("`{name}` is no option of `connected_content`");
                return Err(TemplateError::on(line, &text));
            }
        }
        Ok(rest)
    }

    fn take_headers<'a>(
        &mut self,
        after: &'a str,
        line: usize,
        warnings: &mut Vec<String>,
    ) -> Result<&'a str, TemplateError> {
        let wrong = |text: &str| TemplateError::on(line, &format!("`:headers`: {text}"));
        let braced = Some(after).filter(|after| after.starts_with('{')).and_then(split_braces);
        let (object, rest) = braced.ok_or_else(|| wrong("not a JSON object"))?;
        let read: Map<String, Value> =
            serde_json::from_str(object).map_err(|error| wrong(&error.to_string()))?;
        for (name, value) in read {
            let header = HeaderName::from_bytes(name.as_bytes());
            let header = header.map_err(|_| wrong(&format!("`{name}` is no name")))?;
            let value = match value {
                Value::String(text) => text,
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(wrong(&format!("the value of `{name}` is not text"))),
            };
            let mut value = Template::part(&value, line)?;
            warnings.append(&mut value.warnings);
            self.headers.push((header, value));
        }
        Ok(rest)
    }

    fn take_body<'a>(
        &mut self,
        after: &'a str,
        line: usize,
        warnings: &mut Vec<String>,
    ) -> Result<&'a str, TemplateError> {
        let is_json = after.starts_with('{') && !after.starts_with("{{");
        let braced = Some(after).filter(|_| is_json).and_then(split_braces);
        let (body, rest) = braced.unwrap_or_else(|| split_word(after));
        if body.is_empty() {
            return Err(TemplateError::on(line, "`:body` has no value"));
        }
        // A word alone is the name of a variable that was captured or assigned.
        let is_name = body.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let body = if is_name { format!("{{{{{body}}}}}") } else { body.to_owned() };
        let mut body = Template::part(&body, line)?;
        warnings.append(&mut body.warnings);
        self.body = Some(body);
        Ok(rest)
    }
}

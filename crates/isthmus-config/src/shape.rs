//! Structs declared once: the fields, how they are read, their defaults and their reference page.
//!
//! ```text
//! shape! {
//!     /// What it is.
//!     pub struct Name {
//!         /// What it does.                    required unless its type may be absent
//!         pub field: Type,
//!         /// ...                              the key is `as`
//!         pub as_name ("as"): Option<String>,
//!         /// ...                              read by a function of its own
//!         pub from: PropertyRef as PropertyRef::of_user,
//!         /// ...                              absent means this
//!         pub enabled: bool = false,
//!         /// ...                              and good only when a function says so
//!         pub time_zone: String = "UTC".to_owned() => check::time_zone,
//!     }
//! }
//! ```
//!
//! `pub struct Name, or text Name::from_name {` also takes a plain text, `section!` is a shape in
//! which every field has a default and which therefore is `Default`, and `words!` is an enum of
//! words.

use crate::decode::{Decode, FieldAbout, Fields, Report, Wrong};
use crate::node::Node;

/// A struct declared with [`shape!`] or [`section!`].
pub(crate) trait Shape: Sized {
    const NAME: &'static str;
    /// Its doc comment, a line each.
    const ABOUT: &'static [&'static str];

    /// What a message says is expected.
    const WRITTEN_AS: &'static str = "a mapping";

    /// The rows of its reference page.
    fn fields() -> Vec<FieldAbout>;

    /// Takes its keys out of a mapping, which the caller opens and closes.
    fn take_fields(fields: &mut Fields<'_>, report: &mut Report) -> Option<Self>;

    /// Reads a mapping, in which the keys `beside` are somebody else's.
    fn decode_fields(node: &Node, beside: &[&'static str], report: &mut Report) -> Option<Self> {
        let mut fields = Fields::open(node, Self::WRITTEN_AS, beside, report)?;
        let value = Self::take_fields(&mut fields, report);
        fields.close(report);
        value
    }

    /// Reads a plain text, where that is allowed.
    fn decode_text(_text: &str) -> Option<Result<Self, Wrong>> {
        None
    }
}

impl<S: Shape> Decode for S {
    const EXPECTED: &'static str = S::WRITTEN_AS;

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match node.text().and_then(Self::decode_text) {
            Some(Ok(value)) => Some(value),
            Some(Err(wrong)) => {
                report.wrong(node.at, wrong);
                None
            }
            None => Self::decode_fields(node, &[], report),
        }
    }

    fn expected_on_page() -> String {
        format!("[{}](#{})", S::NAME, S::NAME.to_lowercase())
    }

    fn show(&self) -> String {
        "see there".to_owned()
    }
}

macro_rules! shape {
    // How one field is read.
    (@rule $field:ident, $type:ty, ($($key:literal)?), ($($decode:path)?), ($($default:expr)?),
        ($($check:path)?)) => {
        $crate::decode::Rule::<$type>::new(stringify!($field))
            $(.key($key))? $(.decode($decode))? $(.or(|| $default))? $(.check($check))?
    };
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:ident),*)])?
        pub struct $name:ident $(, or text $of_text:path)? {
            $(
                $(#[doc = $doc:literal])*
                pub $field:ident $(($key:literal))?: $type:ty
                    $(as $decode:path)? $(= $default:expr)? $(=> $check:path)?,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq $($(, $derive)*)?)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl $crate::shape::Shape for $name {
            const NAME: &'static str = stringify!($name);
            const ABOUT: &'static [&'static str] = &[$($about),*];

            fn fields() -> Vec<$crate::decode::FieldAbout> {
                vec![$(
                    $crate::shape::shape!(@rule $field, $type, ($($key)?), ($($decode)?), ($($default)?),
                        ($($check)?)).about(&[$($doc),*])
                ),*]
            }

            fn take_fields(
                fields: &mut $crate::decode::Fields<'_>,
                report: &mut $crate::decode::Report,
            ) -> Option<Self> {
                $(
                    let rule = $crate::shape::shape!(@rule $field, $type, ($($key)?), ($($decode)?),
                        ($($default)?), ($($check)?));
                    let $field = fields.take(&rule, report);
                )*
                Some(Self { $($field: $field?),* })
            }

            $(
                const WRITTEN_AS: &'static str = "a text or a mapping";

                fn decode_text(text: &str) -> Option<Result<Self, $crate::decode::Wrong>> {
                    Some($of_text(text))
                }
            )?
        }
    };
}

macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                pub $field:ident $(($key:literal))?: $type:ty
                    $(as $decode:path)? = $default:expr $(=> $check:path)?,
            )*
        }
    ) => {
        $crate::shape::shape! {
            $(#[doc = $about])*
            pub struct $name {
                $(
                    $(#[doc = $doc])*
                    pub $field $(($key))?: $type $(as $decode)? = $default $(=> $check)?,
                )*
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    };
}

macro_rules! words {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident {
            $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])* $variant, )*
        }

        impl $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),*];

            /// The word that people write.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }

        impl $crate::decode::Decode for $name {
            const EXPECTED: &'static str = "a word";

            fn decode(
                node: &$crate::node::Node,
                report: &mut $crate::decode::Report,
            ) -> Option<Self> {
                $crate::decode::word(node, report, Self::WORDS)
            }

            fn expected_on_page() -> String {
                let words = [$( ($word, [$($doc),*].as_slice()) ),*];
                let one = |(word, doc): &(&str, &[&str])| {
                    let doc = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
                    let doc = doc.trim_end_matches('.');
                    if doc.is_empty() { format!("`{word}`") } else { format!("`{word}` ({doc})") }
                };
                words.iter().map(one).collect::<Vec<_>>().join(", ")
            }

            fn show(&self) -> String {
                format!("`{self}`")
            }
        }
    };
}

pub(crate) use {section, shape, words};

//! JSON numbers compared by what they mean: 1 and 1.0 are one number, and a 64-bit id stays exact.

use std::cmp::Ordering;

/// The value of a JSON number; a whole number has one form however it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// Whole, and in the range of `i128`.
    Integer(i128),
    /// Fractional, or beyond that range; never NaN.
    Float(f64),
}

impl Number {
    pub(crate) const ZERO: Self = Self::Integer(0);

    /// Reads the JSON notation of a number and nothing else: no `+1`, `01`, `.5`, `inf` or spaces.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (integer, rest) = split_digits(unsigned);
        if integer.is_empty() || (integer.len() > 1 && integer.starts_with('0')) {
            return None;
        }
        if rest.is_empty() {
            if let Ok(integer) = text.parse() {
                return Some(Self::Integer(integer));
            }
        } else if !is_fraction_and_exponent(rest) {
            return None;
        }
        text.parse().ok().map(Self::from_f64)
    }

    pub(crate) fn from_json(number: &serde_json::Number) -> Self {
        let integer = number.as_i128().map(Self::Integer);
        // Without serde_json's `arbitrary_precision` every number is an integer or an `f64`.
        integer.unwrap_or_else(|| number.as_f64().map_or(Self::Float(f64::MAX), Self::from_f64))
    }

    /// The JSON number; `None` when JSON has none for it (overflow).
    pub(crate) fn to_json(self) -> Option<serde_json::Number> {
        match self {
            Self::Integer(integer) => i64::try_from(integer)
                .map(Into::into)
                .or_else(|_| u64::try_from(integer).map(Into::into))
                .ok()
                .or_else(|| serde_json::Number::from_f64(approximate(integer))),
            Self::Float(float) => serde_json::Number::from_f64(float),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        if let (Self::Integer(left), Self::Integer(right)) = (self, other)
            && let Some(sum) = left.checked_add(right)
        {
            return Self::Integer(sum);
        }
        Self::from_f64(self.to_f64() + other.to_f64())
    }

    /// Orders by value, exactly, also where a float cannot hold the integer beside it.
    pub(crate) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Float(left), Self::Float(right)) => left.total_cmp(&right),
            (Self::Integer(left), Self::Float(right)) => order_mixed(left, right),
            (Self::Float(left), Self::Integer(right)) => order_mixed(right, left).reverse(),
        }
    }

    fn from_f64(float: f64) -> Self {
        if float.fract() == 0.0 && float.abs() < INTEGER_RANGE {
            Self::Integer(truncate(float))
        } else {
            Self::Float(float)
        }
    }

    fn to_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => approximate(integer),
            Self::Float(float) => float,
        }
    }
}

/// 2^127: below it in size, a float's whole part is an `i128`.
const INTEGER_RANGE: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// Orders an integer against a float, which is fractional or out of range, so they never tie.
fn order_mixed(integer: i128, float: f64) -> Ordering {
    if float >= INTEGER_RANGE {
        Ordering::Less
    } else if float < -INTEGER_RANGE {
        Ordering::Greater
    } else if integer <= truncate(float.floor()) {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

#[expect(clippy::cast_possible_truncation, reason = "callers checked the range, and want the cut")]
fn truncate(float: f64) -> i128 {
    float as i128
}

#[expect(clippy::cast_precision_loss, reason = "JSON has no exact number this large either")]
fn approximate(integer: i128) -> f64 {
    integer as f64
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Whether `text` is what may follow the integer part of a JSON number.
fn is_fraction_and_exponent(text: &str) -> bool {
    let exponent = match text.strip_prefix('.') {
        None => text,
        Some(fraction) => match split_digits(fraction) {
            ("", _) => return false,
            (_, rest) => rest,
        },
    };
    match exponent.strip_prefix(['e', 'E']) {
        None => exponent.is_empty(),
        Some(signed) => {
            let (digits, rest) = split_digits(signed.strip_prefix(['+', '-']).unwrap_or(signed));
            !digits.is_empty() && rest.is_empty()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn equal_values_have_one_form() {
        for same in ["1", "1.0", "1.000", "1e0", "10e-1", "0.1E+1"] {
            assert_eq!(number(same), Number::Integer(1), "{same}");
        }
        assert_eq!(number("-0"), number("0.0"));
        assert_eq!(number("-0.0"), number("0"));
        assert_ne!(number("9007199254740993"), number("9007199254740992.0"));
        assert_ne!(number("18446744073709551615"), number("18446744073709551614"));
    }

    #[test]
    fn only_json_notation_is_a_number() {
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "inf", "NaN", " 1", "1 ", "0x1"]
        {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    #[test]
    fn order_is_exact_beyond_the_precision_of_floats() {
        let ascending = ["-1e300", "-1.5", "-1", "-0.5", "0", "0.5", "1", "1.5", "2"];
        let large = ["9007199254740992", "9007199254740993", "1e60", "1e300", "1e999"];
        let ascending: Vec<_> = ascending.iter().chain(&large).map(|text| number(text)).collect();
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(left.order(*right), i.cmp(&j), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn sums_stay_whole_as_long_as_they_fit() {
        let sum = |left, right| number(left).plus(number(right)).to_json().map(|n| n.to_string());
        assert_eq!(sum("9223372036854775807", "1").as_deref(), Some("9223372036854775808"));
        assert_eq!(sum("1.5", "1.5").as_deref(), Some("3"));
        assert_eq!(sum("18446744073709551615", "1").as_deref(), Some("1.8446744073709552e+19"));
        assert_eq!(sum("1e308", "1e308"), None);
    }

    proptest! {
        #[test]
        fn parses_what_json_parses(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?") {
            let json = serde_json::from_str::<serde_json::Number>(&text).ok();
            prop_assert_eq!(Number::parse(&text), json.as_ref().map(Number::from_json));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            prop_assert!(Number::parse(&text).is_none_or(|number| number == number));
        }
    }
}

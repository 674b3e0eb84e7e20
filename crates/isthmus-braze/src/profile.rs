//! Fields of a profile that are no custom attributes.

/// Attributes that set a field of the profile instead of a custom attribute ("User attributes
/// object", Braze documentation, read 2026-09).
pub(crate) const STANDARD_FIELDS: [&str; 22] = [
    "first_name",
    "last_name",
    "home_city",
    "email",
    "phone",
    "country",
    "language",
    "time_zone",
    "gender",
    "dob",
    "current_location",
    "date_of_first_session",
    "date_of_last_session",
    "marked_email_as_spam_at",
    "email_subscribe",
    "push_subscribe",
    "email_open_tracking_disabled",
    "email_click_tracking_disabled",
    "subscription_groups",
    "facebook",
    "twitter",
    "image_url",
];

/// Those of [`STANDARD_FIELDS`] that an export has, under the same names ("Export users by
/// identifier endpoint", read 2026-09).
pub(crate) const EXPORTED_FIELDS: [&str; 12] = [
    "first_name",
    "last_name",
    "home_city",
    "email",
    "phone",
    "country",
    "language",
    "time_zone",
    "gender",
    "dob",
    "email_subscribe",
    "push_subscribe",
];

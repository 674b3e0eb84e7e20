//! Names for event types that no document names: channel and action, in words.

/// Channels, as event types spell them, as we call them, and as Amplitude shows them.
const CHANNELS: [(&str, &str, &str); 16] = [
    ("email", "email", "Email"),
    ("pushnotification", "push", "Push Notification"),
    ("sms", "sms", "SMS"),
    ("rcs", "rcs", "RCS"),
    ("whatsapp", "whatsapp", "WhatsApp"),
    ("line", "line", "LINE"),
    ("inappmessage", "in_app_message", "In-App Message"),
    ("contentcard", "content_card", "Content Card"),
    ("banner", "banner", "Banner"),
    ("webhook", "webhook", "Webhook"),
    ("featureflag", "feature_flag", "Feature Flag"),
    ("liveactivity", "live_activity", "Live Activity"),
    ("landingpage", "landing_page", "Landing Page"),
    ("survey", "survey", "Survey"),
    ("newsfeedcard", "news_feed_card", "News Feed Card"),
    ("canvas", "canvas", "Canvas"),
];

/// `Kiosk Link Opened` for `users.messages.kiosk.LinkOpened`: the last two parts of the name.
pub(super) fn label_of(event_type: &str) -> String {
    let mut parts = event_type.rsplit('.').filter(|part| !part.is_empty());
    let action = parts.next().map(words).unwrap_or_default();
    match parts.next().filter(|part| *part != "users") {
        Some(channel) => {
            let known = CHANNELS.iter().find(|(spelled, ..)| *spelled == channel);
            let channel = known.map_or_else(|| words(channel), |(.., shown)| (*shown).to_owned());
            format!("{channel} {action}")
        }
        None => action,
    }
}

/// `push` for `users.messages.pushnotification.Open`. A part that we have not heard of is its own
/// name, if it stands where messages have their channel.
pub(super) fn channel_of(event_type: &str) -> Option<&str> {
    let mut parts = event_type.rsplit('.');
    let before_action = parts.nth(1)?;
    let is_message = parts.next() == Some("messages");
    let known = CHANNELS.iter().find(|(spelled, ..)| *spelled == before_action);
    match known {
        Some((_, "canvas", _)) => None,
        Some((_, name, _)) => Some(name),
        None => is_message.then_some(before_action),
    }
}

/// `mark_as_spam` for `users.messages.email.MarkAsSpam`. A short link is a link.
pub(super) fn action_of(event_type: &str) -> String {
    match event_type.rsplit('.').next().unwrap_or_default() {
        "ShortLinkClick" => "click".to_owned(),
        action => words(action).to_lowercase().replace(' ', "_"),
    }
}

/// `Link Opened` for `LinkOpened` and `linkOpened`; a run of capitals is one word.
fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut characters = name.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(character) = characters.next() {
        let ends_lower = before.is_some_and(|before| !before.is_uppercase());
        let starts_word = characters.peek().is_some_and(|next| next.is_lowercase());
        if matches!(character, '_' | '-') {
            out.push(' ');
        } else if before.is_none() || before == Some('_') || before == Some('-') {
            out.extend(character.to_uppercase());
        } else {
            if character.is_uppercase() && (ends_lower || starts_word) {
                out.push(' ');
            }
            out.push(character);
        }
        before = Some(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_are_called_by_their_last_two_parts() {
        for (event_type, label) in [
            ("users.messages.kiosk.LinkOpened", "Kiosk Link Opened"),
            ("users.messages.sms.Forward", "SMS Forward"),
            ("users.messages.pushnotification.SDKRetry", "Push Notification SDK Retry"),
            ("users.Renamed", "Renamed"),
            ("agentconsole.step_done", "Agentconsole Step Done"),
            ("x", "X"),
            ("", ""),
            ("..", ""),
        ] {
            assert_eq!(label_of(event_type), label, "{event_type}");
        }
    }

    #[test]
    fn channel_and_action_are_read_from_the_type() {
        for (event_type, channel, action) in [
            ("users.messages.pushnotification.IosForeground", Some("push"), "ios_foreground"),
            ("users.messages.sms.ShortLinkClick", Some("sms"), "click"),
            ("users.messages.email.MarkAsSpam", Some("email"), "mark_as_spam"),
            (
                "users.behaviors.pushnotification.TokenStateChange",
                Some("push"),
                "token_state_change",
            ),
            ("users.messages.kiosk.LinkOpened", Some("kiosk"), "link_opened"),
            ("users.canvas.Entry", None, "entry"),
            ("users.behaviors.CustomEvent", None, "custom_event"),
            ("Lone", None, "lone"),
        ] {
            assert_eq!(channel_of(event_type), channel, "{event_type}");
            assert_eq!(action_of(event_type), action, "{event_type}");
        }
    }
}

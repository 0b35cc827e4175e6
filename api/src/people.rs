//! What is said of people, checked: names, addresses, languages and clocks.
//!
//! On the line it stands beside the drafts: a body goes in, and a draft or a problem that names each wrong field comes out.
//! Whether a mailbox or a picture is really there is not asked; what is kept is well formed and short.

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{TraceId, UserId};

use crate::error::Problem;
use crate::fields::Fields;
use crate::model::{BlockDraft, UserDraft};

/// Characters of the longest name.
pub const NAME: usize = 100;
/// Characters of the longest address of a picture.
const URL: usize = 2_048;
/// Characters of the longest address of a mailbox: RFC 5321, section 4.5.3.1.
const EMAIL: usize = 254;
/// Characters of the longest part of it before the `@`.
const LOCAL_PART: usize = 64;
/// Characters of the longest language tag; RFC 5646, section 4.4.1 wants room for 35.
const LOCALE: usize = 35;
/// Characters of the longest name of a time zone.
const TIME_ZONE: usize = 64;

/// What a service says of a person. What it leaves out is empty from then on, except the role.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({
    "name": "Maria Rossi", "email": "maria@example.com", "locale": "it-CH", "time_zone": "Europe/Zurich", "role": "staff"
}))]
#[expect(dead_code, reason = "only describes the body")]
pub struct NewProfile {
    /// How they want to be called: 1 to 100 characters, not blank.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Where a picture of them is: an `https://` or `http://` address.
    #[schema(max_length = 2048)]
    avatar_url: Option<String>,
    /// Where mail reaches them.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// Their language: a language tag of BCP 47, such as `de` or `zh-Hant-TW`.
    #[schema(max_length = 35)]
    locale: Option<String>,
    /// Where their clock is: a name of IANA's, such as `Europe/Zurich`.
    #[schema(max_length = 64)]
    time_zone: Option<String>,
    /// What they are: `guest`, `staff`, `admin` or `service`. Stays if it is not said; `guest` for somebody unheard of.
    role: Option<String>,
}

/// Reads a [`NewProfile`].
///
/// # Errors
///
/// Names every field that is wrong.
pub fn profile(mut body: Fields, id: UserId, trace: TraceId) -> Result<UserDraft, Problem> {
    let role: Option<Role> = body.optional("role");
    let name = body.text("name", 1..=NAME);
    if name.as_ref().is_some_and(|name| name.chars().any(char::is_control)) {
        body.wrong("name", "must not contain control characters");
    }
    let mut checked = |field: &str, longest, is_right: fn(&str) -> bool, wanted: &str| {
        let text = body.text(field, 1..=longest)?;
        if is_right(&text) {
            return Some(text);
        }
        body.wrong(field, format_args!("must be {wanted}"));
        None
    };
    let avatar_url = checked("avatar_url", URL, is_url, "an https:// or http:// address");
    let email = checked("email", EMAIL, is_email, "the address of a mailbox, such as maria@example.com");
    let locale = checked("locale", LOCALE, is_language_tag, "a language tag of BCP 47, such as de-CH");
    let time_zone = checked("time_zone", TIME_ZONE, is_time_zone, "a name of IANA's, such as Europe/Zurich");
    body.finish(|| Some(UserDraft { id, role, name, avatar_url, email, locale, time_zone, trace }))
}

/// Reads whom `caller` wants to block, or not any more.
///
/// # Errors
///
/// When that is themselves.
pub fn block(caller: &Caller, user_id: UserId, blocks: bool, trace: TraceId) -> Result<BlockDraft, Problem> {
    if user_id == caller.user {
        return Err(Problem::field("user_id", "is you: nobody blocks themselves"));
    }
    Ok(BlockDraft { user_id, blocks, trace })
}

fn is_url(text: &str) -> bool {
    let Ok(url) = text.parse::<axum::http::Uri>() else { return false };
    let is_web = matches!(url.scheme_str(), Some("https" | "http"));
    // Who is named before an `@` would be shown to everybody.
    is_web && url.authority().is_some_and(|place| !place.host().is_empty() && !place.as_str().contains('@'))
}

/// The shape of RFC 5321, without its comments and quotes: dotted atoms, and a domain of two labels or more.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_atom = |atom: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        !atom.is_empty() && atom.bytes().all(allowed)
    };
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let edges = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(allowed) && !edges
    };
    local.len() <= LOCAL_PART
        && local.split('.').all(is_atom)
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

/// Well-formed by RFC 5646, section 2.1: language, script, region, variants, extensions, private use. The few tags that stand
/// for themselves are not taken.
fn is_language_tag(text: &str) -> bool {
    let mut parts = text.split('-').peekable();
    let is_alpha = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_alphanumeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !parts.next().is_some_and(|language| (2..=8).contains(&language.len()) && is_alpha(language)) {
        return false;
    }
    for _ in 0..3 {
        parts.next_if(|extended| extended.len() == 3 && is_alpha(extended));
    }
    parts.next_if(|script| script.len() == 4 && is_alpha(script));
    parts.next_if(|region| (region.len() == 2 && is_alpha(region)) || (region.len() == 3 && is_digits(region)));
    let is_variant = |variant: &&str| {
        let is_long = (5..=8).contains(&variant.len());
        is_alphanumeric(variant)
            && (is_long || (variant.len() == 4 && variant.starts_with(|c: char| c.is_ascii_digit())))
    };
    while parts.next_if(is_variant).is_some() {}
    while let Some(singleton) = parts.next() {
        if singleton.len() != 1 || !is_alphanumeric(singleton) {
            return false;
        }
        let fewest = if singleton.eq_ignore_ascii_case("x") { 1 } else { 2 };
        let mut follow = 0;
        while parts.next_if(|part| (fewest..=8).contains(&part.len()) && is_alphanumeric(part)).is_some() {
            follow += 1;
        }
        if follow == 0 {
            return false;
        }
    }
    true
}

/// The shape of the names of IANA's database: `UTC`, `Area/Location`, `Area/Region/Location`.
fn is_time_zone(text: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+');
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(allowed)
    };
    text.split('/').count() <= 3 && text.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(is_right: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert!(is_right(text), "{text}"));
        bad.iter().for_each(|text| assert!(!is_right(text), "{text}"));
    }

    #[test]
    fn an_address_of_a_picture_is_one_of_the_web() {
        let bad =
            ["javascript:alert(1)", "/a.png", "https://", "https:///a", "ftp://a/b", "https://a b", "https://u:p@a/b"];
        each(is_url, &["https://example.com/a.png?s=2", "http://localhost:9000/a"], &bad);
    }

    #[test]
    fn a_mailbox_has_a_domain_and_no_tricks() {
        let bad = [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b",
            "a b@c.d",
            "a..b@c.d",
            "a@-b.c",
            "a@b..c",
            "a@b@c d.e",
            "a@b.c\n",
            "\"a\"@b.c",
        ];
        each(is_email, &["a@b.ch", "maria.rossi+x@mail.example.com", "o'neill@example.ie"], &bad);
        assert!(!is_email(&format!("{}@b.ch", "x".repeat(65))));
    }

    #[test]
    fn a_language_is_a_tag_of_bcp_47() {
        let good = [
            "de",
            "de-CH",
            "zh-Hant-TW",
            "es-419",
            "sl-rozaj-biske",
            "de-CH-1996",
            "en-u-ca-buddhist",
            "gsw",
            "en-x-a",
        ];
        each(is_language_tag, &good, &["", "d", "de_CH", "de-", "-de", "de-CH-", "de-u", "en-US-$", "german language"]);
    }

    #[test]
    fn a_clock_has_a_name_of_ianas() {
        let good = ["UTC", "Europe/Zurich", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "America/Port-au-Prince"];
        each(is_time_zone, &good, &["", "/", "Europe/", "+02:00", "../etc/passwd", "A/B/C/D", "Europe/New York"]);
    }
}

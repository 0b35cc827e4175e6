//! The types a setting may have, and how each is written.

use std::net::SocketAddr;
use std::time::Duration;

use super::Secret;

/// A type that a setting may have.
pub trait Value: Sized {
    /// How it is written; completes "expected …".
    const FORM: &'static str;
    /// Whether a text that does not fit might be a secret all the same, and must not be shown.
    const HIDDEN: bool = false;

    /// Reads a value; `None` if the text is none.
    fn parse(text: &str) -> Option<Self>;

    /// The value that stands for "not set", where there may be none.
    fn absent() -> Option<Self> {
        None
    }

    /// The value as an operator may see it: as it is written, secrets masked.
    fn show(&self) -> String;
}

impl<T: Value> Value for Option<T> {
    const FORM: &'static str = T::FORM;
    const HIDDEN: bool = T::HIDDEN;

    fn parse(text: &str) -> Option<Self> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "not set".to_owned(), T::show)
    }
}

/// Several values, written with commas between them. Not set means none.
impl<T: Value> Value for Vec<T> {
    const FORM: &'static str = T::FORM;
    const HIDDEN: bool = T::HIDDEN;

    fn parse(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn show(&self) -> String {
        if self.is_empty() { "none".to_owned() } else { self.iter().map(T::show).collect::<Vec<_>>().join(",") }
    }
}

impl Value for String {
    const FORM: &'static str = "text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for Secret {
    const FORM: &'static str = "a secret text";
    const HIDDEN: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const FORM: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Implements [`Value`] for whole numbers.
macro_rules! whole_numbers {
    ($($type:ty),*) => {
        $(impl Value for $type {
            const FORM: &'static str = "a whole number";

            fn parse(text: &str) -> Option<Self> {
                text.replace('_', "").parse().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        })*
    };
}

whole_numbers!(u16, u32, u64, usize);

/// Reads digits and then a unit, such as `64KiB`.
fn with_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.replace('_', "").parse().ok()?, unit.trim()))
}

impl Value for Duration {
    const FORM: &'static str = "a time, like 250ms, 30s, 5m, 2h or 90d; a bare number is seconds";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = with_unit(text)?;
        let seconds = match unit {
            "ms" => return Some(Self::from_millis(number)),
            "" | "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        number.checked_mul(seconds).map(Self::from_secs)
    }

    fn show(&self) -> String {
        if self.subsec_millis() != 0 {
            return format!("{}ms", self.as_millis());
        }
        let seconds = self.as_secs();
        match [("d", 86_400), ("h", 3_600), ("m", 60)]
            .into_iter()
            .find(|(_, size)| seconds > 0 && seconds.is_multiple_of(*size))
        {
            Some((unit, size)) => format!("{}{unit}", seconds / size),
            None => format!("{seconds}s"),
        }
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl ByteSize {
    /// The number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl Value for ByteSize {
    const FORM: &'static str = "a size, like 512B, 64KiB or 1MiB; a bare number is bytes";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = with_unit(text)?;
        let size = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            _ => return None,
        };
        usize::try_from(number).ok()?.checked_mul(size).map(Self)
    }

    fn show(&self) -> String {
        let sizes = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match sizes.into_iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => format!("{}{unit}", self.0 / size),
            None => format!("{}B", self.0),
        }
    }
}

impl Value for SocketAddr {
    const FORM: &'static str = "an address with a port, like 127.0.0.1:8000, 0.0.0.0:8000 or [::]:8000";

    fn parse(text: &str) -> Option<Self> {
        text.replace("localhost:", "127.0.0.1:").parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A URL with a scheme, whose password is masked wherever it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// The part before `://`, or before the first colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// The whole text, password included, for whoever connects there.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // A password may hold any character that its writer forgot to escape, so everything up to the last @ goes. The
        // query goes too: `?password=…` is one way to write it.
        let rest = rest.rsplit_once('@').map_or_else(|| rest.to_owned(), |(_, host)| format!("***@{host}"));
        let rest = rest.split_once('?').map_or_else(|| rest.clone(), |(path, _)| format!("{path}?***"));
        write!(f, "{scheme}://{rest}")
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({self})")
    }
}

impl Value for Address {
    const FORM: &'static str = "an address with a scheme, like https://host/path";
    const HIDDEN: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let good =
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let plain = !rest.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        (good && plain).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Reads one of `all` by its name.
pub fn choice<T: Copy>(all: &[(&str, T)], text: &str) -> Option<T> {
    all.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}

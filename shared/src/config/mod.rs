//! Configuration: what an operator may say, parsed once into types.
//!
//! Defaults < `carillon.toml` < environment < flags. Every setting is declared once, with [`settings!`](crate::settings),
//! and from that come its type, its reading, its problems and its line in `docs/configuration.md`. Reading reports every
//! problem at once, each with a remedy, and shows no secret.

mod common;
mod docs;
mod layers;
mod reader;
mod secret;
mod value;

pub use common::{InternalSettings, LogFormat, LogLevel, LogSettings, PodSettings, RedisSettings};
pub use docs::document;
pub use layers::{Layers, Origin};
pub use reader::{Effective, Problem, Problems, Reader};
pub use secret::Secret;
pub use value::{Address, ByteSize, Value, choice};

/// A group of settings that belong together: a struct made by [`settings!`](crate::settings).
pub trait Settings: Sized {
    /// What the group is about, and where its keys stand.
    const GROUP: Group;

    /// Reads the group. A value that does not fit is noted as a problem of `reader`, and its default stands in.
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// The keys of a [`Settings`] struct, as documentation and as the list of what is known.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Its doc comment, line by line.
    pub about: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
}

/// One setting: what may be said about it before its value is known.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The table of `carillon.toml` it stands in; empty for the top.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Its doc comment, line by line.
    pub doc: &'static [&'static str],
    /// How its value is written.
    pub form: &'static str,
    /// Its value where nobody says another; a setting without a default is optional.
    pub default: Option<&'static str>,
    /// Another environment variable that sets it, from the systems that Carillon replaces.
    pub alias: Option<&'static str>,
    /// The lowest and highest value, if not everything of the type will do.
    pub bounds: fn() -> Option<(String, String)>,
}

impl Key {
    /// The key as messages and flags name it: `gateway.send_queue_bytes`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable that sets it: `CARILLON_GATEWAY__SEND_QUEUE_BYTES`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("CARILLON_{}", self.path().replace('.', "__").to_uppercase())
    }
}

/// Declares a struct of settings, each with its documentation and its default, and implements
/// [`Settings`](crate::config::Settings) for it.
///
/// ```
/// use std::time::Duration;
/// use shared::config::{ByteSize, Secret};
///
/// shared::settings! {
///     /// How sockets are served.
///     pub struct SocketSettings("socket") {
///         /// Bytes that may wait for one connection before it is caught up by its position instead.
///         pub queue_bytes: ByteSize = "64KiB" in ByteSize(1024)..=ByteSize(1 << 24),
///         /// How often a silent connection is asked whether it is there.
///         pub heartbeat: Duration = "30s" or "WEBSOCKET_HEARTBEAT_INTERVAL",
///         /// Without a default a setting is optional.
///         pub password: Option<Secret>,
///     }
/// }
/// assert_eq!(SocketSettings::default().heartbeat, Duration::from_secs(30));
/// ```
///
/// The name in parentheses is the table of `carillon.toml`; `""` is the top of the file. `or` names another environment
/// variable, `in` the values that will do.
#[macro_export]
macro_rules! settings {
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
    (@bounds $type:ty) => { || None };
    (@bounds $type:ty, $range:expr) => {
        || {
            let show = <$type as $crate::config::Value>::show;
            Some((show(($range).start()), show(($range).end())))
        }
    };
    (@fits) => { |_| true };
    (@fits $range:expr) => { |value| ($range).contains(value) };
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident($section:literal) {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty $(= $default:literal $(or $alias:literal)? $(in $range:expr)?)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        impl $crate::config::Settings for $name {
            const GROUP: $crate::config::Group = $crate::config::Group {
                about: &[$($about),+],
                keys: &[$($crate::config::Key {
                    section: $section,
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    form: <$type as $crate::config::Value>::FORM,
                    default: $crate::settings!(@option $($default)?),
                    alias: $crate::settings!(@option $($($alias)?)?),
                    bounds: $crate::settings!(@bounds $type $($(, $range)?)?),
                }),*],
            };

            fn read(reader: &mut $crate::config::Reader<'_>) -> Self {
                let mut keys = Self::GROUP.keys.iter();
                let mut key = || keys.next().expect("one key for each field, in their order");
                Self {
                    $($field: reader.value::<$type>(key(), $crate::settings!(@fits $($($range)?)?)),)*
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                let layers = $crate::config::Layers::default();
                <Self as $crate::config::Settings>::read(&mut layers.reader())
            }
        }
    };
}

#[cfg(test)]
mod tests;

//! The handshake of RFC 6455 section 4.2: what a request for a socket says, and the answer that opens it.
//!
//! The same whether a request was read by an HTTP server or by [`accept`](crate::accept). Nothing is copied: a header that is
//! kept would keep the whole read buffer of its request alive.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The subprotocol we speak; a token may stand beside it as `bearer.<jwt>`.
const SUBPROTOCOL: &str = "carillon.v1";
/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY: usize = 24;

/// The headers that count at a door. Of a header that comes twice the first counts, except where it is a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers<'a> {
    /// `Connection: upgrade`.
    upgrades: bool,
    /// `Upgrade: websocket`.
    to_websocket: bool,
    /// `Sec-WebSocket-Version: 13`.
    of_version: bool,
    key: Option<&'a [u8]>,
    host: Option<&'a str>,
    origin: Option<&'a [u8]>,
    authorization: Option<&'a str>,
    /// Whether our subprotocol was offered.
    speaks_ours: bool,
    /// The token among the subprotocols.
    offered: Option<&'a str>,
    /// Where an event stream broke off.
    pub(crate) last_event_id: Option<&'a str>,
}

/// What a client brought in the query. Of a name that comes twice the last counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) user_id: Option<Cow<'a, str>>,
    pub(crate) device_id: Option<Cow<'a, str>>,
    pub(crate) device_type: Option<Cow<'a, str>>,
    pub(crate) app_version: Option<Cow<'a, str>>,
    pub(crate) since: Option<Cow<'a, str>>,
    pub(crate) token: Option<Cow<'a, str>>,
}

/// What is wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAHandshake {
    /// It asks for no upgrade to WebSocket 13.
    NotWebSocket,
    /// Its `Sec-WebSocket-Key` is missing or none.
    NoKey,
}

/// The answer that turns a connection into a socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    accept: String,
    speaks_ours: bool,
}

impl<'a> Headers<'a> {
    /// The headers of a request that an HTTP server read.
    pub(crate) fn of(map: &'a HeaderMap) -> Self {
        let mut headers = Self::default();
        map.iter().for_each(|(name, value)| headers.note(name.as_str(), value.as_bytes()));
        headers
    }

    /// Takes one header, if it counts.
    pub(crate) fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &HeaderName| name.eq_ignore_ascii_case(known.as_str());
        let text = std::str::from_utf8(value).ok().map(str::trim);
        let mut listed = text.unwrap_or_default().split(',').map(str::trim);
        if is(&header::CONNECTION) {
            self.upgrades |= listed.any(|each| each.eq_ignore_ascii_case("upgrade"));
        } else if is(&header::UPGRADE) {
            self.to_websocket |= listed.any(|each| each.eq_ignore_ascii_case("websocket"));
        } else if is(&header::SEC_WEBSOCKET_VERSION) {
            self.of_version |= listed.any(|each| each == "13");
        } else if is(&header::SEC_WEBSOCKET_PROTOCOL) {
            for each in listed {
                self.speaks_ours |= each == SUBPROTOCOL;
                self.offered = self.offered.or_else(|| each.strip_prefix("bearer."));
            }
        } else if is(&header::SEC_WEBSOCKET_KEY) {
            self.key = self.key.or(Some(value));
        } else if is(&header::HOST) {
            self.host = self.host.or(text);
        } else if is(&header::ORIGIN) {
            self.origin = self.origin.or(Some(value));
        } else if is(&header::AUTHORIZATION) {
            self.authorization = self.authorization.or(text);
        } else if name.eq_ignore_ascii_case("last-event-id") {
            self.last_event_id = self.last_event_id.or(text);
        }
    }

    /// The answer to the handshake, if it is one.
    pub(crate) fn switch(&self) -> Result<Switch, NotAHandshake> {
        if !(self.upgrades && self.to_websocket && self.of_version) {
            return Err(NotAHandshake::NotWebSocket);
        }
        let key = self.key.filter(|key| key.len() == KEY).ok_or(NotAHandshake::NoKey)?;
        Ok(Switch { accept: derive_accept_key(key), speaks_ours: self.speaks_ours })
    }

    /// The token of the `Authorization` header.
    pub(crate) fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.authorization?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The token among the subprotocols.
    pub(crate) const fn offered(&self) -> Option<&'a str> {
        self.offered
    }

    /// Whether the request was sent to a loopback name or address.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.host.unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether a page may open a socket. Only browsers send `Origin`, and only they carry somebody else's pages.
    pub(crate) fn is_allowed_origin(&self, allowed: &[String]) -> bool {
        let Some(origin) = self.origin else { return true };
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        if allowed.is_empty() {
            let page = origin.split_once("://").map(|(_, host)| host);
            return page.is_some() && page == self.host;
        }
        allowed.iter().any(|each| each == "*" || each.eq_ignore_ascii_case(origin))
    }
}

impl<'a> Query<'a> {
    /// Reads a query; names that mean nothing here are passed over.
    pub(crate) fn read(query: &'a str) -> Self {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "user_id" => &mut read.user_id,
                "device_id" => &mut read.device_id,
                "device_type" => &mut read.device_type,
                "app_version" => &mut read.app_version,
                "since" => &mut read.since,
                "token" => &mut read.token,
                _ => continue,
            };
            *field = Some(value);
        }
        read
    }
}

impl Switch {
    /// The headers of the answer, whose status is 101.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let protocol = self.speaks_ours.then_some((header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL));
        [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept.as_str()),
        ]
        .into_iter()
        .chain(protocol)
    }

    /// The answer as it is written.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut answer = Vec::with_capacity(192);
        answer.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in self.headers() {
            for part in [name.as_str(), ": ", value, "\r\n"] {
                answer.extend_from_slice(part.as_bytes());
            }
        }
        answer.extend_from_slice(b"\r\n");
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &'static str)]) -> Headers<'static> {
        let mut headers = Headers::default();
        pairs.iter().for_each(|(name, value)| headers.note(name, value.as_bytes()));
        headers
    }

    #[test]
    fn a_page_of_another_host_may_not_open_a_socket_unless_allowed() {
        let ours = headers(&[("Host", "chat.example:8000"), ("Origin", "http://chat.example:8000")]);
        let theirs = headers(&[("Host", "chat.example:8000"), ("Origin", "https://evil.example")]);
        let allowed = ["https://evil.example".to_owned()];
        assert!(headers(&[("host", "x")]).is_allowed_origin(&[]));
        assert!(ours.is_allowed_origin(&[]) && !theirs.is_allowed_origin(&[]));
        assert!(theirs.is_allowed_origin(&allowed) && !ours.is_allowed_origin(&allowed));
        let mut garbled = Headers::default();
        garbled.note("origin", b"http://\xff");
        assert!(!garbled.is_allowed_origin(&["*".to_owned()]), "an origin that is no text is nobody's");
    }

    #[test]
    fn only_a_loopback_name_is_local() {
        for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.1"] {
            assert!(headers(&[("host", host)]).is_local(), "{host}");
        }
        for host in ["evil.example:8000", "10.0.0.1:8000", ""] {
            assert!(!headers(&[("host", host)]).is_local(), "{host}");
        }
    }

    #[test]
    fn lists_are_read_over_several_headers_and_whatever_their_case() {
        let asked = headers(&[
            ("Connection", "keep-alive, Upgrade"),
            ("UPGRADE", "WebSocket"),
            ("Sec-WebSocket-Version", "8, 13"),
            ("Sec-WebSocket-Protocol", "carillon.v1"),
            ("Sec-WebSocket-Protocol", "other, bearer.g.h.i"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let switch = asked.switch().expect("a handshake");
        // The example of RFC 6455, section 1.3.
        assert_eq!(switch, Switch { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into(), speaks_ours: true });
        assert_eq!(asked.offered(), Some("g.h.i"));
        let answer = String::from_utf8(switch.encode()).expect("text");
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("sec-websocket-protocol: carillon.v1\r\n\r\n"));
    }

    #[test]
    fn what_is_no_handshake_is_told_apart() {
        let all = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for missing in 0..3 {
            let some: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, pair)| *pair).collect();
            assert_eq!(headers(&some).switch(), Err(NotAHandshake::NotWebSocket), "{missing}");
        }
        assert_eq!(headers(&all[..3]).switch(), Err(NotAHandshake::NoKey));
        assert!(headers(&all).switch().is_ok());
    }

    #[test]
    fn the_query_is_decoded_and_the_last_of_two_counts() {
        let query = Query::read("token=a.b.c&since=&user_id=first&x=1&user_id=al%40ice");
        assert_eq!(query.token.as_deref(), Some("a.b.c"));
        assert_eq!(query.since.as_deref(), Some(""));
        assert_eq!(query.user_id.as_deref(), Some("al@ice"));
        assert_eq!(Query::read(""), Query::default());
    }
}

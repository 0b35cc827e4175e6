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
/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64, of which two stand for no byte.
const KEY: usize = 24;

/// The headers that count at a door. One that comes twice and is no list means one thing to us and may mean another to a proxy
/// before us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers<'a> {
    /// `Connection: upgrade`.
    upgrades: bool,
    /// `Upgrade: websocket`.
    to_websocket: bool,
    version: Option<&'a str>,
    key: Option<&'a [u8]>,
    host: Option<&'a str>,
    /// Which page asks: empty, which is nobody's, when it is no text or came twice.
    pub(crate) origin: Option<&'a str>,
    authorization: Option<&'a str>,
    /// Whether something came twice that may come once.
    pub(crate) doubled: bool,
    /// Whether a body follows.
    has_body: bool,
    /// Whose address proxies say it is. Of several the last counts: that is the nearest one's.
    pub(crate) forwarded_for: Option<&'a str>,
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
    pub(crate) ticket: Option<Cow<'a, str>>,
}

/// What is wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAHandshake {
    /// It asks for no upgrade to WebSocket 13.
    NotWebSocket,
    /// Its `Sec-WebSocket-Key` is missing or none.
    NoKey,
    /// It has a body, which would be read as frames.
    Body,
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
            self.doubled |= self.version.replace(text.unwrap_or_default()).is_some();
        } else if is(&header::SEC_WEBSOCKET_PROTOCOL) {
            for each in listed {
                self.speaks_ours |= each == SUBPROTOCOL;
                self.offered = self.offered.or_else(|| each.strip_prefix("bearer."));
            }
        } else if is(&header::SEC_WEBSOCKET_KEY) {
            self.doubled |= self.key.replace(value).is_some();
        } else if is(&header::HOST) {
            self.doubled |= self.host.replace(text.unwrap_or_default()).is_some();
        } else if is(&header::ORIGIN) {
            self.origin = Some(text.filter(|_| self.origin.is_none()).unwrap_or_default());
        } else if is(&header::AUTHORIZATION) {
            self.doubled |= self.authorization.replace(text.unwrap_or_default()).is_some();
        } else if is(&header::TRANSFER_ENCODING) {
            self.has_body = true;
        } else if is(&header::CONTENT_LENGTH) {
            self.has_body |= text != Some("0");
        } else if name.eq_ignore_ascii_case("x-forwarded-for") {
            self.forwarded_for = text.or(self.forwarded_for);
        } else if name.eq_ignore_ascii_case("last-event-id") {
            self.last_event_id = self.last_event_id.or(text);
        }
    }

    /// The answer to the handshake, if it is one.
    pub(crate) fn switch(&self) -> Result<Switch, NotAHandshake> {
        if !(self.upgrades && self.to_websocket && self.version == Some("13")) {
            return Err(NotAHandshake::NotWebSocket);
        }
        if self.has_body {
            return Err(NotAHandshake::Body);
        }
        let key = self.key.filter(|key| is_key(key)).ok_or(NotAHandshake::NoKey)?;
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
        // Browsers write it in small letters.
        if origin.is_empty() || origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return false;
        }
        if allowed.is_empty() {
            let page = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            return page.is_some_and(|page| self.host.is_some_and(|host| host.eq_ignore_ascii_case(page)));
        }
        allowed.iter().any(|each| each == "*" || each.eq_ignore_ascii_case(origin))
    }
}

/// Whether it is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let Some((digits, b"==")) = key.split_last_chunk::<2>() else { return false };
    key.len() == KEY && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
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
                "ticket" => &mut read.ticket,
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
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &'static str)]) -> Headers<'static> {
        let mut headers = Headers::default();
        pairs.iter().for_each(|(name, value)| headers.note(name, value.as_bytes()));
        headers
    }

    #[test]
    fn a_page_of_another_host_may_not_open_a_socket_unless_allowed() {
        let from = |origin: &'static str, allowed: &[String]| {
            headers(&[("Host", "app.example:8000"), ("Origin", origin)]).is_allowed_origin(allowed)
        };
        let allowed = ["https://App.example".to_owned(), "https://other.example:444".to_owned()];
        assert!(headers(&[("host", "x")]).is_allowed_origin(&allowed), "only browsers say where they come from");
        for ours in ["http://app.example:8000", "https://app.example:8000"] {
            assert!(from(ours, &[]) && !from(ours, &allowed), "{ours}");
        }
        for theirs in ["https://app.example", "https://other.example:444"] {
            assert!(from(theirs, &allowed) && !from(theirs, &[]), "{theirs}");
        }
        for nobodys in [
            "null",
            "",
            "https://",
            "app.example:8000",
            "app.example",
            "http://app.example",
            "https://app.example:443",
            "https://app.example:8001",
            "https://app.example.evil.example",
            "https://evil-app.example",
            "https://evil.example/https://app.example",
            "https://evil.example#https://app.example:8000",
            "https://app.example@evil.example",
            "https://app.example/",
            "https://app.example:8000/",
            "https://other.example",
            "http://other.example:444",
            "ftp://app.example:8000",
            "chrome-extension://app.example:8000",
            "file://",
            "HTTPS://APP.EXAMPLE",
            "HTTP://app.example:8000",
            "https://app.example, https://app.example",
            "https://app.example https://evil.example",
            "*",
        ] {
            assert!(!from(nobodys, &[]) && !from(nobodys, &allowed), "{nobodys}");
        }
        let any = ["*".to_owned()];
        assert!(from("https://evil.example", &any) && from("null", &any));
        let mut garbled = Headers::default();
        garbled.note("origin", b"http://\xff");
        assert!(!garbled.is_allowed_origin(&any), "an origin that is no text is nobody's");
        let ours = ("origin", "http://x");
        assert!(!headers(&[("host", "x"), ours, ours]).is_allowed_origin(&any), "nor are two");
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
            ("Sec-WebSocket-Version", "13"),
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
        use NotAHandshake::{Body, NoKey, NotWebSocket};
        let all = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert!(headers(&all).switch().is_ok());
        for (missing, why) in [NotWebSocket, NotWebSocket, NotWebSocket, NoKey].into_iter().enumerate() {
            let some: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, pair)| *pair).collect();
            assert_eq!(headers(&some).switch(), Err(why), "{missing}");
        }
        for (place, wrong, why) in [
            (0, "keep-alive", NotWebSocket),
            (0, "upgraded", NotWebSocket),
            (1, "h2c", NotWebSocket),
            (1, "websockets", NotWebSocket),
            (2, "8", NotWebSocket),
            (2, "0", NotWebSocket),
            (2, "013", NotWebSocket),
            (2, "8, 13", NotWebSocket),
            (2, "", NotWebSocket),
            (3, "", NoKey),
            (3, "dGhlIHNhbXBsZSBub25jZQ", NoKey),
            (3, "dGhlIHNhbXBsZSBub25jZQ=A", NoKey),
            (3, "dGhlIHNhbXBsZSBub25jZQA=", NoKey),
            (3, "dGhlIHNhbXBsZSBub25j!Q==", NoKey),
            (3, "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==", NoKey),
        ] {
            let mut asked = all;
            asked[place].1 = wrong;
            assert_eq!(headers(&asked).switch(), Err(why), "{:?}", asked[place]);
        }
        for (body, is_one) in [
            (("content-length", "0"), false),
            (("content-length", "5"), true),
            (("content-length", "00"), true),
            (("transfer-encoding", "chunked"), true),
            (("transfer-encoding", ""), true),
        ] {
            let asked = headers(&[&all[..], &[body]].concat()).switch();
            assert_eq!(asked.err(), is_one.then_some(Body), "{body:?}");
        }
    }

    #[test]
    fn what_may_come_once_is_noticed_when_it_comes_twice() {
        for (name, twice) in [
            ("host", true),
            ("authorization", true),
            ("sec-websocket-key", true),
            ("sec-websocket-version", true),
            ("sec-websocket-protocol", false),
            ("connection", false),
        ] {
            assert!(!headers(&[(name, "a")]).doubled, "{name}");
            assert_eq!(headers(&[(name, "a"), (name, "a")]).doubled, twice, "{name}");
        }
    }

    #[test]
    fn the_query_is_decoded_and_the_last_of_two_counts() {
        let query = Query::read("token=a.b.c&since=&user_id=first&x=1&user_id=al%40ice");
        assert_eq!(query.token.as_deref(), Some("a.b.c"));
        assert_eq!(query.since.as_deref(), Some(""));
        assert_eq!(query.user_id.as_deref(), Some("al@ice"));
        assert_eq!(Query::read(""), Query::default());
    }

    proptest! {
        #[test]
        fn an_origin_is_judged_like_a_parser_of_addresses_judges_it(
            scheme in "(https?|HTTPS|ftp|null|)",
            host in "(app\\.example|other\\.example|App\\.example|[a-z.@/#?:\\\\ -]{0,12})",
            port in "(:8000|:80|:443|:0|)",
            rest in "(/|/x|\\?x|#x|@evil\\.example|\\.evil\\.example|)",
        ) {
            let origin = format!("{scheme}://{host}{port}{rest}");
            let mut asked = headers(&[("host", "app.example:8000")]);
            asked.note("origin", origin.as_bytes());
            if asked.is_allowed_origin(&[]) {
                let address = reqwest::Url::parse(&origin).expect("whatever is allowed is an address");
                prop_assert_eq!(address.host_str(), Some("app.example"), "{}", &origin);
                prop_assert_eq!(address.port_or_known_default(), Some(8000), "{}", &origin);
                prop_assert!(["http", "https"].contains(&address.scheme()), "{}", &origin);
                prop_assert_eq!(address.origin().ascii_serialization(), origin);
            }
        }

        #[test]
        fn no_request_makes_reading_the_handshake_panic(
            lines in proptest::collection::vec(("[a-zA-Z-]{0,24}", proptest::collection::vec(0_u8.., 0..64)), 0..12),
            query in ".{0,64}",
            name in "(host|origin|connection|upgrade|authorization|sec-websocket-(key|version|protocol)|content-length)",
            value in ".{0,32}",
        ) {
            let mut asked = Headers::default();
            lines.iter().for_each(|(name, value)| asked.note(name, value));
            asked.note(&name, value.as_bytes());
            let _ = (asked.switch(), asked.bearer(), asked.is_local(), asked.is_allowed_origin(&[]));
            let _ = Query::read(&query);
        }
    }
}

//! Every error and every close, with what the caller can do about it.
//!
//! One table for both pods: the api turns an [`ErrorCode`] into problem JSON, the gateway into an `error` frame. An error
//! leaves the connection alive, a close ends it.

use serde::{Deserialize, Serialize};

/// Why a request or a command was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "status and remedy below say what each means")]
pub enum ErrorCode {
    BadRequest,
    UnknownAction,
    TooLarge,
    Unauthorized,
    TokenExpired,
    Forbidden,
    NotFound,
    ConversationClosed,
    NotAParticipant,
    Blocked,
    Banned,
    KeyReused,
    Conflict,
    ResyncRequired,
    Unsupported,
    LimitExceeded,
    RateLimited,
    Unavailable,
    Internal,
}

impl ErrorCode {
    /// Every code there is.
    pub const ALL: [Self; 19] = [
        Self::BadRequest,
        Self::UnknownAction,
        Self::TooLarge,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NotFound,
        Self::ConversationClosed,
        Self::NotAParticipant,
        Self::Blocked,
        Self::Banned,
        Self::KeyReused,
        Self::Conflict,
        Self::ResyncRequired,
        Self::Unsupported,
        Self::LimitExceeded,
        Self::RateLimited,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The code as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status that REST answers with.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// What the caller can do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadRequest => ("bad_request", 400, "correct the named fields and send it again"),
            Self::UnknownAction => ("unknown_action", 400, "use one of the actions of /asyncapi.json"),
            Self::TooLarge => ("too_large", 413, "send less at once"),
            Self::Unauthorized => ("unauthorized", 401, "send a valid token"),
            Self::TokenExpired => ("token_expired", 401, "get a new token and try again with it"),
            Self::Forbidden => ("forbidden", 403, "ask someone who may, or use a token with the right role"),
            Self::NotFound => ("not_found", 404, "check the id; it may have been deleted, or may not be yours to see"),
            Self::ConversationClosed => ("conversation_closed", 409, "start another conversation"),
            Self::NotAParticipant => ("not_a_participant", 403, "ask a participant to add you"),
            Self::Blocked => ("blocked", 403, "one of you has blocked the other; nothing can be sent"),
            Self::Banned => ("banned", 403, "wait until the ban ends, or ask staff"),
            Self::KeyReused => ("key_reused", 409, "use a fresh key for another body"),
            Self::Conflict => ("conflict", 409, "read it again and decide anew"),
            Self::ResyncRequired => ("resync_required", 410, "load GET /api/v1/snapshot and go on from its cursor"),
            Self::Unsupported => ("unsupported", 400, "leave it out; this server does not offer it"),
            Self::LimitExceeded => ("limit_exceeded", 409, "stay below the limit that the detail names"),
            Self::RateLimited => ("rate_limited", 429, "wait as long as retry_after says"),
            Self::Unavailable => ("unavailable", 503, "try again in a moment; with a key it cannot happen twice"),
            Self::Internal => ("internal", 500, "try again; if it stays, report the request_id"),
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a socket was closed. RFC 6455 section 7.4 gives the numbers below 3000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: goodbye; the client stays away.
    Normal,
    /// 1002: the peer broke the framing of RFC 6455.
    Protocol,
    /// 1007: a text frame that is no UTF-8.
    InvalidText,
    /// 1009: a frame larger than allowed.
    TooLarge,
    /// 1012: the pod is draining; the client comes back after the advised delay.
    Draining,
    /// 1013: the pod is full; the client comes back later.
    Full,
    /// 4401: the token expired or is bad; the client renews once.
    BadToken,
    /// 4403: revoked or forbidden; the client stops.
    Forbidden,
    /// 4408: no pong, or no token in time; the client comes back.
    Silent,
    /// 4413: took nothing for too long; the client comes back with its cursor.
    Stalled,
    /// 4429: too many errors or commands; the client comes back later.
    Abusive,
}

impl CloseCode {
    /// Every close there is.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::Protocol,
        Self::InvalidText,
        Self::TooLarge,
        Self::Draining,
        Self::Full,
        Self::BadToken,
        Self::Forbidden,
        Self::Silent,
        Self::Stalled,
        Self::Abusive,
    ];

    /// The number in the close frame.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// The reason in the close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().1
    }

    /// Whether the client should connect again by itself.
    #[must_use]
    pub const fn comes_back(self) -> bool {
        self.row().2
    }

    const fn row(self) -> (u16, &'static str, bool) {
        match self {
            Self::Normal => (1000, "bye", false),
            Self::Protocol => (1002, "protocol error", false),
            Self::InvalidText => (1007, "text frames must be UTF-8", false),
            Self::TooLarge => (1009, "frame too large", false),
            Self::Draining => (1012, "this pod is stopping, come back", true),
            Self::Full => (1013, "this pod is full, come back later", true),
            Self::BadToken => (4401, "token expired or invalid", true),
            Self::Forbidden => (4403, "not allowed", false),
            Self::Silent => (4408, "nothing heard from you", true),
            Self::Stalled => (4413, "you take nothing, come back with your cursor", true),
            Self::Abusive => (4429, "too many errors or commands, come back later", true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_serde_writes_it() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).expect("a name"), code.as_str());
        }
    }

    #[test]
    fn every_close_fits_a_control_frame() {
        for close in CloseCode::ALL {
            assert!(close.reason().len() + 2 <= 125, "{close:?}");
        }
    }
}

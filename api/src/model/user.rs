//! People: what is known of them.

use serde::Serialize;
use shared::channel::Role;
use shared::ids::{TraceId, UserId};
use shared::time::Timestamp;

use super::Ban;

/// A person, as the one who asks may see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// Their id.
    #[schema(value_type = String)]
    pub id: UserId,
    /// What they are: `guest`, `staff`, `admin` or `service`.
    #[schema(value_type = String)]
    pub role: Role,
    /// How they want to be called.
    pub name: Option<String>,
    /// Where a picture of them is.
    pub avatar_url: Option<String>,
    /// Their language, by BCP 47.
    #[schema(examples("de-CH"))]
    pub locale: Option<String>,
    /// Where their clock is, by the names of IANA.
    #[schema(examples("Europe/Zurich"))]
    pub time_zone: Option<String>,
    /// Where mail reaches them. Told to themselves, to staff and to services, and to nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Counts the changes of the above: whoever has two of them applies the higher one. 0 as long as no service has said anything.
    pub version: u64,
    /// When a service last said something new.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub updated_at: Option<Timestamp>,
    /// When they were erased: only their id is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub erased_at: Option<Timestamp>,
    /// Why and for how long they may do nothing, if they are banned. Told to themselves, to staff and to services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban: Option<Ban>,
}

/// Somebody of whom the caller wants to hear nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Block {
    /// Who is blocked.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Since when.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub blocked_at: Timestamp,
}

/// Somebody to be blocked, or not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDraft {
    /// Who; somebody else than the caller.
    pub user_id: UserId,
    /// Whether they shall be blocked.
    pub blocks: bool,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

/// What a service says of a person, all of it at once. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDraft {
    /// Of whom.
    pub id: UserId,
    /// What they are; as they were known if it is not said. A token they show says it anew.
    pub role: Option<Role>,
    /// How they want to be called.
    pub name: Option<String>,
    /// Where a picture of them is.
    pub avatar_url: Option<String>,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// Their language, by BCP 47.
    pub locale: Option<String>,
    /// Where their clock is, by the names of IANA.
    pub time_zone: Option<String>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

impl UserDraft {
    /// The fields that are empty when they are not said, as the stores take them.
    pub(crate) fn profile(&self) -> serde_json::Value {
        let Self { id: _, role: _, name, avatar_url, email, locale, time_zone, trace: _ } = self;
        serde_json::json!({
            "name": name, "avatar_url": avatar_url, "email": email, "locale": locale, "time_zone": time_zone,
        })
    }
}

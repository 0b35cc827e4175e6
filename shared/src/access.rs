//! Who is calling.

use serde::{Deserialize, Serialize};

use crate::channel::Role;
use crate::ids::UserId;
use crate::time::Timestamp;

/// Someone whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The token's `sub`.
    pub user: UserId,
    /// The token's `role`; guest if it names none.
    pub role: Role,
    /// The token's `name`, if it has one: how the user wants to be called.
    pub name: Option<String>,
    /// The token's `jti`, by which it alone can be revoked.
    pub token_id: Option<String>,
    /// The token's `exp`.
    pub expires_at: Timestamp,
}

//! What a newcomer sees first: where everything is, who one can be, and what to paste.

use std::net::SocketAddr;
use std::time::Duration;

use shared::access::{AccessSettings, Grant, sign};
use shared::channel::Role;

/// How long the tokens of the banner count: a day of playing.
const TTL: Duration = Duration::from_secs(24 * 3_600);

/// Writes the banner of a process that listens on `address` and can sign tokens with `access`.
pub fn banner(address: SocketAddr, access: &AccessSettings) -> String {
    let Some([alice, bob, sam]) = tokens(access) else {
        return format!("\nCarillon listens on http://{address}, API at http://{address}/docs\n");
    };
    format!(
        r#"
Carillon plays all roles in this process.

  page     http://{address}/
  API      http://{address}/docs
  socket   ws://{address}/api/v1/ws
  health   http://{address}/readyz   http://{address}/metrics

Alice and Bob are guests, Sam is staff. Paste their tokens (good for a day) into another terminal:

  export ALICE={alice}
  export BOB={bob}
  export SAM={sam}

1. Open a socket as Alice, any of these:

  npx wscat -c "ws://{address}/api/v1/ws?token=$ALICE"
  websocat "ws://{address}/api/v1/ws?token=$ALICE"
  curl -N "http://{address}/api/v1/events?token=$ALICE"

2. In a third terminal, let Bob start a conversation with her, and send a message:

  ID=$(curl -s http://{address}/api/v1/messages/conversations -H "Authorization: Bearer $BOB" \
    -H 'Content-Type: application/json' -d '{{"type":"direct","participant_ids":["alice"]}}' \
    | grep -o '"id":"[^"]*"' | head -1 | cut -d'"' -f4)
  curl -s http://{address}/api/v1/messages/messages -H "Authorization: Bearer $BOB" \
    -H 'Content-Type: application/json' -d "{{\"conversation_id\":\"$ID\",\"message_text\":\"hello Alice\"}}"

More people: carillon token --user dora --role staff
"#
    )
}

fn tokens(access: &AccessSettings) -> Option<[String; 3]> {
    let people = [("alice", "Alice", Role::Guest), ("bob", "Bob", Role::Guest), ("sam", "Sam", Role::Staff)];
    let tokens = people.map(|(id, name, role)| {
        let user = id.parse().expect("an id");
        sign(access, &Grant { user, role, name: Some(name.to_owned()), ttl: TTL }).ok()
    });
    let [Some(alice), Some(bob), Some(sam)] = tokens else { return None };
    Some([alice, bob, sam])
}

#[cfg(test)]
mod tests {
    use shared::config::Secret;

    use super::*;

    #[test]
    fn the_banner_names_addresses_tokens_and_commands() {
        let access = AccessSettings { jwt_secret: Some(Secret::new("secret")), ..AccessSettings::default() };
        let text = banner("127.0.0.1:8000".parse().expect("an address"), &access);
        for part in
            ["export ALICE=ey", "export BOB=ey", "export SAM=ey", "npx wscat -c \"ws://127.0.0.1:8000", "curl -s"]
        {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("secret"));
    }
}

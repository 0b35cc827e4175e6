//! A fleet to play with: two pods of each kind behind nginx, on PostgreSQL and Redis, until ctrl-c.

use fleet::fleet::Fleet;
use fleet::place::Place as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("starting PostgreSQL, Redis, six pods and nginx …");
    let fleet = Fleet::new().await;
    let door = fleet.door();
    let [alice, bob] = [fleet.user("alice"), fleet.user("bob")].map(|user| user.token().to_owned());
    let sam = fleet.user_with_role("sam", "staff").token().to_owned();
    println!(
        "
A fleet is listening on http://{door}

  export ALICE={alice}
  export BOB={bob}
  export SAM={sam}

Listen as bob (twice, and you may be on either gateway):
  npx wscat -c \"ws://{door}/api/v1/ws?token=$BOB\"

Start a conversation and say something as alice:
  curl -s http://{door}/api/v1/messages/conversations -H \"Authorization: Bearer $ALICE\" \\
    -H 'Content-Type: application/json' -d '{{\"type\":\"guest_guest\",\"participant_ids\":[\"bob\"]}}'
  curl -s http://{door}/api/v1/messages/messages -H \"Authorization: Bearer $ALICE\" \\
    -H 'Content-Type: application/json' -d '{{\"conversation_id\":\"…\",\"message_text\":\"hello\"}}'

The pods, to be killed:"
    );
    for pod in fleet.api.iter().chain(&fleet.gateway).chain(&fleet.worker) {
        println!("  {:<10} 127.0.0.1:{} pid {}", pod.name(), pod.port(), pod.id().unwrap_or_default());
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}

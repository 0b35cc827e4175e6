//! The program as a newcomer and an operator meet it: from the outside, in an empty folder.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;

const PATIENCE: Duration = Duration::from_secs(20);

/// An empty folder in which the program is run.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("carillon-program-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).expect("an empty folder");
        Self(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carillon"));
        command.args(arguments).env_clear().current_dir(&self.0).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(arguments).envs(environment.iter().copied()).output().expect("the program runs")
    }

    /// Starts all roles on a free port and waits for the banner.
    async fn play(&self) -> Playing {
        let out = self.0.join("out");
        let file = |path: &PathBuf| std::fs::File::create(path).expect("a file");
        let mut command = self.command(&["--listen", "127.0.0.1:0"]);
        let child = command.stdout(file(&out)).stderr(file(&self.0.join("err"))).spawn().expect("the program runs");
        let mut playing = Playing { child, banner: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while !playing.banner.contains("More people") {
            assert!(Instant::now() < deadline, "no banner: {}", self.errors());
            tokio::time::sleep(Duration::from_millis(20)).await;
            playing.banner = std::fs::read_to_string(&out).expect("a file");
        }
        playing
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.0.join("err")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The running program and what it printed.
struct Playing {
    child: Child,
    banner: String,
}

impl Playing {
    fn after(&self, mark: &str) -> &str {
        let rest = self.banner.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {}", self.banner)).1;
        rest.split_whitespace().next().expect("something")
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill").success());
    }

    async fn ends(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "still running");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn token_prints_the_token_and_nothing_else() {
    let place = Place::new();
    let made = place.run(&["token", "--user", "alice", "--ttl", "60"], &[("CARILLON_JWT_SECRET", "secret")]);
    assert!(made.status.success() && made.stderr.is_empty());
    let token = text(&made.stdout).strip_suffix('\n').expect("one line");
    assert_eq!(token.split('.').count(), 3);
    assert!(!token.contains(char::is_whitespace));
    for arguments in [&["token"][..], &["token", "--user", "two words"], &["token", "--user", "a", "--role", "king"]] {
        let refused = place.run(arguments, &[]);
        assert!(!refused.status.success() && refused.stdout.is_empty());
    }
}

#[test]
fn check_tells_every_problem_at_once_and_no_secret() {
    let place = Place::new();
    let environment = [
        ("CARILLON_DATABASE_URL", "sqlite://x.db"),
        ("CARILLON_JWT_SECRET", "hunter2hunter2"),
        ("CARILLON_LISTEN", "everywhere"),
        ("CARILLON_GATEWAY__SEND_QUEUE_BYTE", "1"),
    ];
    let bad = place.run(&["check", "api"], &environment);
    assert_eq!(bad.status.code(), Some(1));
    let told = text(&bad.stderr);
    for part in
        ["4 problems", "listen:", "database_url:", "redis_url:", "did you mean CARILLON_GATEWAY__SEND_QUEUE_BYTES"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    let good = place.run(&["check"], &environment[1..2]);
    assert!(good.status.success(), "{}", text(&good.stderr));
    let told = text(&good.stdout);
    assert!(told.starts_with("ok: ") && told.contains("can be guessed"), "{told}");
    assert!(!format!("{bad:?}{good:?}").contains("hunter2"));
}

#[test]
fn a_single_role_refuses_what_a_fleet_cannot_share() {
    let place = Place::new();
    for role in ["api", "gateway", "worker"] {
        let refused = place.run(&[role], &[]);
        assert_eq!(refused.status.code(), Some(1), "{role}");
        assert!(text(&refused.stderr).contains("memory://"), "{role}");
    }
    let exposed = place.run(&["--listen", "0.0.0.0:0"], &[]);
    assert!(text(&exposed.stderr).contains("beyond this machine"), "{}", text(&exposed.stderr));
    assert!(!place.0.join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_newcomer_can_paste_what_the_banner_says() {
    let place = Place::new();
    let mut playing = place.play().await;
    let (address, alice, bob) = (playing.after("page     http://"), playing.after("ALICE="), playing.after("BOB="));
    let address = address.trim_end_matches('/');

    let url = format!("ws://{address}/api/v1/ws?token={alice}");
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut socket, _) = client_async(url, stream).await.expect("a socket");
    let http = reqwest::Client::new();
    let post = |path: &str, body: Value| {
        let request = http.post(format!("http://{address}/api/v1/messages/{path}")).bearer_auth(bob).json(&body);
        async move { request.send().await.expect("an answer").json::<Value>().await.expect("JSON") }
    };
    let conversation = post("conversations", json!({ "type": "direct", "participant_ids": ["alice"] })).await;
    let body = json!({ "conversation_id": conversation["id"], "message_text": "hello Alice" });
    let message = post("messages", body).await;

    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            let frame = socket.next().await.expect("open").expect("a frame").into_text().expect("text");
            let event: Value = serde_json::from_str(&frame).expect("JSON");
            if event["type"] == "new_message" {
                return event;
            }
        }
    });
    assert_eq!(heard.await.expect("in time")["data"]["message_id"], message["id"]);
    for path in ["healthz", "readyz", "metrics"] {
        let answer = reqwest::get(format!("http://{address}/{path}")).await.expect("an answer");
        assert!(answer.status().is_success(), "{path}");
    }
    drop(socket);
    playing.signal("-TERM");
    assert!(playing.ends().await, "{}", place.errors());
}

#[tokio::test]
async fn a_playground_keeps_its_secret_to_itself_and_through_a_restart() {
    let place = Place::new();
    let mut playing = place.play().await;
    let token = playing.after("SAM=").to_owned();
    let secret = place.0.join("data/made-up-secret");
    assert_eq!(std::fs::metadata(&secret).expect("a file").permissions().mode() & 0o777, 0o600);
    playing.signal("-INT");
    assert!(playing.ends().await, "{}", place.errors());

    let playing = place.play().await;
    let url = format!("http://{}api/v1/snapshot", playing.after("page     http://"));
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.expect("an answer");
    assert!(answer.status().is_success(), "a token from before the restart still counts");
    let stolen = std::fs::read_to_string(secret).expect("a file");
    let refused = place.run(&["check", "gateway"], &[("CARILLON_JWT_SECRET", &stolen)]);
    assert!(text(&refused.stderr).contains("made-up one of a playground"));
    assert!(!format!("{}{}", playing.banner, place.errors()).contains(&stolen));
}

#[tokio::test]
async fn a_pod_that_waits_for_its_database_can_be_told_to_stop() {
    for role in ["api", "worker"] {
        let place = Place::new();
        let environment = [
            ("CARILLON_JWT_SECRET", "a secret of this test alone, long enough"),
            ("CARILLON_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere"),
            ("CARILLON_REDIS_URL", "redis://127.0.0.1:1"),
            ("CARILLON_LISTEN", "127.0.0.1:0"),
            ("CARILLON_INTERNAL_LISTEN", "127.0.0.1:0"),
        ];
        let log = || std::fs::File::options().create(true).append(true).open(place.0.join("err")).expect("a file");
        let mut command = place.command(&[role]);
        let child = command.envs(environment).stdout(log()).stderr(log()).spawn().expect("the program runs");
        let mut waiting = Playing { child, banner: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while !place.errors().contains("waiting for the database") {
            assert!(Instant::now() < deadline, "{}", place.errors());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        waiting.signal("-TERM");
        assert!(waiting.ends().await, "{role}: {}", place.errors());
    }
}

//! What configuration promises: layers, types, all problems at once, no secret shown.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::access::AccessSettings;

crate::settings! {
    /// Everything a setting can be.
    struct Sample("sample") {
        /// Bounded.
        pub queue_bytes: ByteSize = "64KiB" in ByteSize(1024)..=ByteSize(1 << 20),
        /// With another name.
        pub heartbeat_interval: Duration = "30s" or "WEBSOCKET_HEARTBEAT_INTERVAL",
        /// Plain.
        pub enabled: bool = "true",
        /// A list.
        pub origins: Vec<String>,
        /// Hidden.
        pub password: Option<Secret>,
        /// Half hidden.
        pub upstream: Option<Address>,
        /// An address.
        pub listen: Option<SocketAddr>,
        /// A number.
        pub limit: u32 = "250" in 2..=1_000,
    }
}

const KNOWN: &[Group] = &[Sample::GROUP, RedisSettings::GROUP, AccessSettings::GROUP];

fn layers(environment: &[(&str, &str)], file: &str) -> Layers {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Layers::of(environment, []).with_file(Path::new("carillon.toml"), file)
}

fn read(layers: &Layers) -> Result<(Sample, Vec<Effective>), Vec<Problem>> {
    let mut reader = layers.reader();
    let sample = reader.read();
    let effective = reader.finish(KNOWN).map_err(|problems| problems.0)?;
    Ok((sample, effective))
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "[sample]\nlimit = 3\nenabled = false\norigins = ['a', 'b']\nheartbeat_interval = 9";
    let mut layers = layers(&[("CARILLON_SAMPLE__LIMIT", "4"), ("WEBSOCKET_HEARTBEAT_INTERVAL", "30")], file);
    let (sample, effective) = read(&layers).expect("no problem");
    assert_eq!((sample.limit, sample.enabled, sample.queue_bytes), (4, false, ByteSize(65_536)));
    assert_eq!((sample.heartbeat_interval, sample.origins), (Duration::from_secs(30), vec!["a".into(), "b".into()]));
    let origin = |path: &str| effective.iter().find(|row| row.path == path).expect("read").origin.to_string();
    assert_eq!(origin("sample.limit"), "CARILLON_SAMPLE__LIMIT");
    assert_eq!(origin("sample.heartbeat_interval"), "WEBSOCKET_HEARTBEAT_INTERVAL");
    assert_eq!(origin("sample.enabled"), "carillon.toml");
    assert_eq!(origin("sample.queue_bytes"), "default");
    layers.flags.insert("sample.limit", "5".into());
    assert_eq!(read(&layers).expect("no problem").0.limit, 5);
}

#[test]
fn every_problem_is_reported_at_once_with_its_remedy() {
    let environment = [
        ("CARILLON_SAMPLE__QUEUE_BYTES", "64 bananas"),
        ("CARILLON_SAMPLE__LIMITS", "3"),
        ("CARILLON_NONSENSE_ALTOGETHER", "3"),
        ("CARILLON_API_SERVICE_HOST", "10.0.0.1"),
        ("CARILLON_API_PORT_8001_TCP_ADDR", "10.0.0.1"),
        ("CARILLON_CONFIG", "carillon.toml"),
        ("PATH", "/bin"),
    ];
    let file = "redis_urll = 'x'\n[sample]\nlimit = 1\nenabled = 'perhaps'\n[gatevay]\nx = 1";
    let problems = read(&layers(&environment, file)).expect_err("problems");
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "sample.queue_bytes: `64 bananas` (CARILLON_SAMPLE__QUEUE_BYTES) does not fit\n    → write a size, like 512B, \
             64KiB or 1MiB; a bare number is bytes, from 1KiB to 1MiB",
            "sample.enabled: `perhaps` (carillon.toml) does not fit\n    → write true or false",
            "sample.limit: `1` (carillon.toml) does not fit\n    → write a whole number, from 2 to 1000",
            "gatevay.x (carillon.toml): is not a setting\n    → remove it; docs/configuration.md lists the settings",
            "redis_urll (carillon.toml): is not a setting\n    → did you mean redis_url?",
            "CARILLON_NONSENSE_ALTOGETHER: is not a setting\n    → remove it; docs/configuration.md lists the settings",
            "CARILLON_SAMPLE__LIMITS: is not a setting\n    → did you mean CARILLON_SAMPLE__LIMIT?",
        ]
    );
}

#[test]
fn no_secret_is_shown() {
    let environment = [
        ("CARILLON_SAMPLE__PASSWORD", "hunter2"),
        ("CARILLON_SAMPLE__UPSTREAM", "redis://me:hunter2@host:1/?p=hunter2"),
    ];
    let (sample, effective) = read(&layers(&environment, "")).expect("no problem");
    assert_eq!(sample.password.as_ref().expect("set").reveal(), "hunter2");
    assert!(!format!("{sample:?} {effective:?}").contains("hunter2"));
    assert_eq!(sample.upstream.expect("set").to_string(), "redis://***@host:1/?***");
    let broken = layers(&[("CARILLON_SAMPLE__UPSTREAM", "hunter2")], "[sample]\npassword = hunter2");
    let problems = read(&broken).expect_err("problems");
    assert_eq!(problems.len(), 2);
    assert!(problems[0].subject.ends_with("line 2"), "{problems:?}");
    assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
}

#[test]
fn a_variable_with_nothing_in_it_says_nothing() {
    let layers = layers(&[("CARILLON_SAMPLE__PASSWORD", ""), ("CARILLON_SAMPLE__LIMIT", " ")], "");
    assert_eq!(read(&layers).expect("no problem").0, Sample::default());
}

#[test]
fn every_value_is_shown_as_it_is_written() {
    fn same<T: Value + PartialEq + std::fmt::Debug>(texts: &[&str]) {
        for text in texts {
            let value = T::parse(text).unwrap_or_else(|| panic!("{text} fits"));
            assert_eq!(&value.show(), text);
        }
    }
    same::<Duration>(&["250ms", "30s", "5m", "2h", "90d", "0s", "1500ms"]);
    same::<ByteSize>(&["512B", "64KiB", "1MiB", "3GiB", "0B", "1025B"]);
    same::<bool>(&["true", "false"]);
    same::<LogFormat>(&["pretty", "json"]);
    same::<SocketAddr>(&["127.0.0.1:8000", "[::]:80"]);
    same::<Vec<u16>>(&["1,2,3"]);
    for text in ["", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "18446744073709551615d"] {
        assert_eq!(Duration::parse(text), None, "{text}");
    }
    for text in ["", "KiB", "1TB", "-1", "18446744073709551615GiB"] {
        assert_eq!(ByteSize::parse(text), None, "{text}");
    }
    assert_eq!(SocketAddr::parse("localhost:80"), SocketAddr::parse("127.0.0.1:80"));
}

#[test]
fn nested_values_reach_their_type_as_json() {
    let layers = layers(&[], "[[gateway.rooms]]\npattern = 'tour_*'\nhistory = 100");
    assert_eq!(layers.file["gateway.rooms"], r#"[{"history":100,"pattern":"tour_*"}]"#);
}

#[test]
fn the_page_names_every_key() {
    let page = document(&[("Sample", Sample::GROUP)]);
    assert!(page.contains(
        "| `sample.heartbeat_interval` | `CARILLON_SAMPLE__HEARTBEAT_INTERVAL`, `WEBSOCKET_HEARTBEAT_INTERVAL` | With another \
         name. *(a time, like 250ms, 30s, 5m, 2h or 90d; a bare number is seconds)* | `30s` |"
    ));
    assert!(page.contains("from 1KiB to 1MiB"));
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text: String, file in "(?s).{0,64}", line in "[a-z.\\[\\]= '\"0-9{}\n]{0,64}") {
        for file in [&file, &line] {
            let variables = Sample::GROUP.keys.iter().map(|key| (key.variable(), text.clone()));
            let _ = read(&Layers::of(variables, []).with_file(Path::new("x"), file));
        }
    }
}

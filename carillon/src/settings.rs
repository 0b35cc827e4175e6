//! The whole configuration of one process: every group, and what is not allowed together.

use std::net::{Ipv4Addr, SocketAddr};

use api::config::{ApiSettings, AttachmentSettings, DatabaseSettings};
use clap::ValueEnum;
use gateway::config::GatewaySettings;
use shared::access::{AccessSettings, Verifier, derive};
use shared::config::{
    Address, Effective, Group, InternalSettings, Layers, LogSettings, PodSettings, Problems, Reader, RedisSettings,
    Secret, Settings as _,
};
use shared::limits::LimitSettings;

use crate::made_up;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// All roles in one process
    All,
    /// Keeps what is said
    Api,
    /// Holds the sockets
    Gateway,
    /// Says which feeds grew, and does what need not be done at once
    Worker,
}

/// Every group of settings, under the title that documents it. One file can serve all roles.
pub const GROUPS: &[(&str, Group)] = &[
    ("Listening", PodSettings::GROUP),
    ("Tokens", AccessSettings::GROUP),
    ("Database", DatabaseSettings::GROUP),
    ("Redis", RedisSettings::GROUP),
    ("Between pods", InternalSettings::GROUP),
    ("Api and worker", ApiSettings::GROUP),
    ("Attachments", AttachmentSettings::GROUP),
    ("Gateway", GatewaySettings::GROUP),
    ("Limits", LimitSettings::GROUP),
    ("Logs", LogSettings::GROUP),
];

/// The database of a process that nobody gave another.
const OWN_DATABASE: &str = "sqlite://./data/carillon.db";
/// Where the attachments of such a process lie.
const OWN_ATTACHMENTS: &str = "file://./data/attachments";
/// HS256 wants a key as long as its hash (RFC 7518, 3.2): shorter ones can be guessed offline from any token.
const SAFE_SECRET: usize = 32;
const RANDOM: &str = "`openssl rand -hex 32` makes one";

/// The configuration of one process, checked.
#[derive(Debug)]
pub struct Settings {
    pub role: Role,
    pub pod: PodSettings,
    pub access: AccessSettings,
    pub database: DatabaseSettings,
    pub redis: RedisSettings,
    pub internal: InternalSettings,
    pub api: ApiSettings,
    pub attachments: AttachmentSettings,
    pub gateway: GatewaySettings,
    pub limits: LimitSettings,
    pub log: LogSettings,
    /// What counts, for an operator to see.
    pub effective: Vec<Effective>,
}

impl Role {
    /// Its name on the command line and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::All => 8000,
            Self::Api => 8001,
            Self::Gateway => 8002,
            Self::Worker => 8003,
        }
    }

    const fn keeps(self) -> bool {
        matches!(self, Self::Api | Self::Worker)
    }

    const fn believes_tokens(self) -> bool {
        matches!(self, Self::Api | Self::Gateway)
    }
}

impl Settings {
    /// Reads the configuration of a process that plays `role`.
    pub fn read(layers: &Layers, role: Role) -> Result<Self, Problems> {
        let mut reader = layers.reader();
        let mut settings = Self {
            role,
            pod: reader.read(),
            access: reader.read(),
            database: reader.read(),
            redis: reader.read(),
            internal: reader.read(),
            api: reader.read(),
            attachments: reader.read(),
            gateway: reader.read(),
            limits: reader.read(),
            log: reader.read(),
            effective: Vec::new(),
        };
        settings.check_keys(&mut reader);
        settings.check_database(&mut reader);
        settings.check_redis(&mut reader);
        settings.check_internal(&mut reader);
        settings.check_attachments(&mut reader);
        let groups: Vec<Group> = GROUPS.iter().map(|(_, group)| *group).collect();
        settings.effective = reader.finish(&groups)?;
        Ok(settings)
    }

    /// Where the process listens.
    pub fn listen(&self) -> SocketAddr {
        self.pod.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, self.role.port())))
    }

    /// Where things are kept.
    pub fn database_url(&self) -> &str {
        self.database.database_url.as_ref().map_or(OWN_DATABASE, |url| url.reveal())
    }

    /// Where things are kept, without its password.
    pub fn database_url_shown(&self) -> String {
        self.database.database_url.as_ref().map_or_else(|| OWN_DATABASE.to_owned(), ToString::to_string)
    }

    /// Where the bytes of attachments lie if nobody says it.
    pub fn own_attachments(&self) -> Option<&'static str> {
        (self.role == Role::All).then_some(OWN_ATTACHMENTS)
    }

    /// Whether nobody named a key, so that the process makes up a secret.
    pub fn makes_up_a_secret(&self) -> bool {
        let AccessSettings { jwt_secret, jwt_public_key, jwks_url, .. } = &self.access;
        jwt_secret.is_none() && jwt_public_key.is_none() && jwks_url.is_none()
    }

    /// What gateways show to api pods; nothing if it can be neither read nor derived.
    pub fn internal_secret(&self) -> Option<Secret> {
        let derived = || self.access.jwt_secret.as_ref().map(|secret| derive(secret, "carillon internal v1"));
        self.internal.internal_secret.clone().or_else(derived)
    }

    /// Where api pods answer.
    pub fn api_urls(&self) -> anyhow::Result<Vec<reqwest::Url>> {
        self.internal.api_url.iter().map(|url| Ok(url.reveal().parse()?)).collect()
    }

    /// What is allowed, and should be mended all the same.
    pub fn warnings(&self) -> Vec<String> {
        let short = |secret: &Secret| secret.reveal().len() < SAFE_SECRET;
        let mut warnings = Vec::new();
        if self.access.jwt_secret.as_ref().is_some_and(short) {
            warnings.push(format!("jwt_secret is shorter than {SAFE_SECRET} bytes and can be guessed; {RANDOM}"));
        }
        if self.internal.internal_secret.as_ref().is_some_and(short) {
            warnings.push(format!("internal_secret is shorter than {SAFE_SECRET} bytes and can be guessed; {RANDOM}"));
        }
        warnings
    }

    fn check_keys(&self, reader: &mut Reader<'_>) {
        let exposed = !self.listen().ip().is_loopback();
        let known = self.access.jwt_secret.as_ref().is_some_and(made_up::is_made_up);
        if (known || self.makes_up_a_secret()) && (self.role.believes_tokens() || (self.role == Role::All && exposed)) {
            let what = match (known, self.role) {
                (true, _) => "is the made-up one of a playground, which is no secret",
                (false, Role::All) => "is not set, and a made-up one must not be believed beyond this machine",
                (false, _) => "is not set, nor another key: no token could be believed",
            };
            reader.problem(
                "jwt_secret",
                what,
                format!("set CARILLON_JWT_SECRET ({RANDOM}), CARILLON_JWT_PUBLIC_KEY or CARILLON_JWKS_URL"),
            );
        } else if !self.makes_up_a_secret()
            && let Err(error) = Verifier::new(&self.access)
        {
            reader.problem("tokens", error.to_string(), "see the section Tokens of docs/configuration.md");
        }
    }

    fn check_database(&self, reader: &mut Reader<'_>) {
        let scheme = self.database.database_url.as_ref().map(|url| url.scheme());
        let what = match scheme {
            Some("postgres" | "postgresql") => return,
            Some("sqlite") | None if !self.role.keeps() => return,
            None => "is not set",
            Some("sqlite") => "is SQLite, which several processes cannot share",
            Some(_) => "is no database that Carillon can use",
        };
        let remedy =
            "set CARILLON_DATABASE_URL=postgres://user:password@host/name, or run `carillon` alone for one process";
        reader.problem("database_url", what, remedy);
    }

    fn check_redis(&self, reader: &mut Reader<'_>) {
        let what = match self.redis.redis_url.scheme() {
            "redis" | "rediss" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster" | "rediss-cluster" => return,
            "memory" if self.role == Role::All => return,
            "memory" => "is memory://, in which the pods of a fleet would not hear each other",
            _ => "is no broker that Carillon can use",
        };
        let remedy = "set CARILLON_REDIS_URL=redis://host:6379 (or rediss://, redis-sentinel://, redis-cluster://)";
        reader.problem("redis_url", what, remedy);
    }

    fn check_internal(&self, reader: &mut Reader<'_>) {
        if self.role.believes_tokens() && self.internal_secret().is_none() && !self.makes_up_a_secret() {
            let remedy = format!("set the same CARILLON_INTERNAL_SECRET for gateways and api pods; {RANDOM}");
            reader.problem("internal_secret", "is not set, and there is no jwt_secret to derive it from", remedy);
        }
        if self.role == Role::Gateway && self.internal.api_url.is_empty() {
            let remedy = "set CARILLON_API_URL to the internal listeners of api pods, like http://api:8081";
            reader.problem("api_url", "is not set: a gateway asks an api pod for all it delivers", remedy);
        }
        let speaks_http = |url: &Address| matches!(url.scheme(), "http" | "https");
        if self.api_urls().is_err() || !self.internal.api_url.iter().all(speaks_http) {
            reader.problem("api_url", "is no address that speaks HTTP", "write it like http://api:8081");
        }
        if self.role == Role::Api && self.listen() == self.database.internal_listen && self.listen().port() != 0 {
            let remedy = "give one of them another port: what gateways ask must never be reachable from outside";
            reader.problem("internal_listen", "is the same as listen", remedy);
        }
    }

    fn check_attachments(&self, reader: &mut Reader<'_>) {
        let AttachmentSettings { url, s3_access_key_id, s3_secret_access_key, .. } = &self.attachments;
        let place = url.as_ref().and_then(|url| url.reveal().split_once("://"));
        let what = match place {
            Some(("s3", bucket)) if bucket.starts_with('/') || bucket.is_empty() => Some("names no bucket"),
            Some(("file", "")) => Some("names no folder"),
            Some(("s3" | "file", _)) | None => None,
            Some(_) => Some("is no storage that Carillon can use"),
        };
        if let Some(what) = what {
            reader.problem("attachments.url", what, "write it like file:///var/lib/carillon or s3://bucket/prefix");
        }
        if s3_access_key_id.is_some() != s3_secret_access_key.is_some() {
            let remedy = "set both attachments.s3_access_key_id and attachments.s3_secret_access_key, or neither";
            reader.problem("attachments.s3_secret_access_key", "is only half of a key", remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: [(&str, &str); 4] = [
        ("CARILLON_DATABASE_URL", "postgres://carillon:hunter2@db/carillon"),
        ("CARILLON_REDIS_URL", "redis://redis:6379"),
        ("CARILLON_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("CARILLON_API_URL", "http://api-1:8081,http://api-2:8081"),
    ];

    /// Reads what a fleet says, changed: an empty value takes a variable away.
    fn read(role: Role, base: &[(&str, &str)], changes: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let said = base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let said: std::collections::BTreeMap<_, _> = said.collect();
        let read = Settings::read(&Layers::of(said, []), role);
        read.map_err(|problems| problems.0.into_iter().map(|problem| problem.subject).collect())
    }

    fn problems(role: Role, changes: &[(&str, &str)]) -> Vec<String> {
        read(role, &FLEET, changes).map_or_else(|problems| problems, |_| Vec::new())
    }

    #[test]
    fn a_fleet_and_a_newcomer_have_no_problem() {
        for role in [Role::All, Role::Api, Role::Gateway, Role::Worker] {
            assert_eq!(problems(role, &[]), [""; 0], "{role:?}");
        }
        let newcomer = read(Role::All, &[], &[]).expect("no problem");
        assert_eq!(newcomer.listen().to_string(), "127.0.0.1:8000");
        assert_eq!(newcomer.database_url(), OWN_DATABASE);
        assert!(newcomer.makes_up_a_secret());
    }

    #[test]
    fn what_a_fleet_cannot_share_is_refused_by_single_roles() {
        let alone = [("CARILLON_DATABASE_URL", "sqlite://x.db"), ("CARILLON_REDIS_URL", "memory://")];
        assert_eq!(problems(Role::Api, &alone), ["database_url", "redis_url"]);
        assert_eq!(problems(Role::Worker, &alone), ["database_url", "redis_url"]);
        assert_eq!(problems(Role::Gateway, &alone), ["redis_url"], "a gateway has no database");
        assert_eq!(problems(Role::All, &alone), [""; 0]);
        let nothing = [("CARILLON_DATABASE_URL", ""), ("CARILLON_REDIS_URL", "")];
        assert_eq!(problems(Role::Api, &nothing), ["database_url", "redis_url"]);
        let strange = [("CARILLON_DATABASE_URL", "mysql://db"), ("CARILLON_REDIS_URL", "kafka://k")];
        assert_eq!(problems(Role::All, &strange), ["database_url", "redis_url"]);
    }

    #[test]
    fn a_made_up_secret_stays_on_loopback_and_out_of_fleets() {
        let made_up = made_up::make_up();
        for secret in ["", made_up.reveal()] {
            let secret = ("CARILLON_JWT_SECRET", secret);
            assert_eq!(problems(Role::Api, &[secret]), ["jwt_secret"]);
            assert_eq!(problems(Role::Gateway, &[secret]), ["jwt_secret"]);
            assert_eq!(problems(Role::Worker, &[secret]), [""; 0], "a worker believes no tokens");
            assert_eq!(problems(Role::All, &[secret]), [""; 0]);
            for exposed in ["0.0.0.0:8000", "[::]:8000", "192.168.1.5:8000"] {
                assert_eq!(problems(Role::All, &[secret, ("CARILLON_LISTEN", exposed)]), ["jwt_secret"], "{exposed}");
            }
            assert_eq!(problems(Role::All, &[secret, ("CARILLON_LISTEN", "[::1]:8000")]), [""; 0]);
        }
    }

    #[test]
    fn the_internal_secret_is_derived_unless_it_cannot_be() {
        let secret = |changes: &[(&str, &str)]| read(Role::Api, &FLEET, changes).expect("no problem").internal_secret();
        assert!(secret(&[]).is_some());
        assert_eq!(secret(&[]), secret(&[("CARILLON_LISTEN", "0.0.0.0:1")]), "the same for every pod of the fleet");
        assert_ne!(secret(&[]), secret(&[("CARILLON_JWT_SECRET", "fedcba9876543210fedcba9876543210")]));
        assert_eq!(secret(&[("CARILLON_INTERNAL_SECRET", "x")]), Some(Secret::new("x")));
        let only_key_set = [("CARILLON_JWT_SECRET", ""), ("CARILLON_JWKS_URL", "https://id.example/keys")];
        assert_eq!(problems(Role::Api, &only_key_set), ["internal_secret"]);
        assert_eq!(problems(Role::Gateway, &only_key_set), ["internal_secret"]);
        assert_eq!(problems(Role::Worker, &only_key_set), [""; 0]);
    }

    #[test]
    fn unusable_keys_and_addresses_are_named() {
        assert_eq!(problems(Role::Api, &[("CARILLON_JWT_PUBLIC_KEY", "nonsense")]), ["tokens"]);
        assert_eq!(problems(Role::Gateway, &[("CARILLON_API_URL", "")]), ["api_url"]);
        assert_eq!(problems(Role::Gateway, &[("CARILLON_API_URL", "tcp://api:1")]), ["api_url"]);
        let same = [("CARILLON_LISTEN", "0.0.0.0:8081"), ("CARILLON_INTERNAL_LISTEN", "0.0.0.0:8081")];
        assert_eq!(problems(Role::Api, &same), ["internal_listen"]);
        assert_eq!(
            problems(Role::Gateway, &[("CARILLON_LISTEN", "8000"), ("CARILLON_LOGLEVEL", "x")]),
            ["listen", "CARILLON_LOGLEVEL"]
        );
    }

    #[test]
    fn storage_that_cannot_be_used_is_named() {
        for url in ["ftp://host/folder", "s3://", "s3:///prefix", "file://"] {
            assert_eq!(problems(Role::Api, &[("CARILLON_ATTACHMENTS__URL", url)]), ["attachments.url"], "{url}");
        }
        for url in ["s3://bucket", "s3://bucket/prefix", "file:///var/lib/carillon", "file://./data"] {
            assert_eq!(problems(Role::Api, &[("CARILLON_ATTACHMENTS__URL", url)]), [""; 0], "{url}");
        }
        let half = [("CARILLON_ATTACHMENTS__S3_ACCESS_KEY_ID", "id")];
        assert_eq!(problems(Role::Api, &half), ["attachments.s3_secret_access_key"]);
    }

    #[test]
    fn a_short_secret_is_warned_of() {
        let warnings =
            |secret| read(Role::All, &[], &[("CARILLON_JWT_SECRET", secret)]).expect("no problem").warnings();
        assert_eq!(warnings("secret").len(), 1);
        assert_eq!(warnings("0123456789abcdef0123456789abcdef").len(), 0);
    }

    #[test]
    fn nothing_that_is_shown_is_secret() {
        let settings = read(Role::All, &FLEET, &[]).expect("no problem");
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("0123456789abcdef"), "{shown}");
    }
}

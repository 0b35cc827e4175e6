//! The ground that pods under test stand on: servers that the configuration names, or nothing at all.
//!
//! Somebody's PostgreSQL and Redis may be in use. So the benchmark makes a database of its own there and drops it, and its
//! keys and channels in Redis have a prefix of their own and expire.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::{Child, Command};

use super::process::{Usage, program};
use crate::settings::Settings;

/// How long a pod may take to be ready.
const START: Duration = Duration::from_secs(30);

/// What pods under test are given.
pub enum Ground {
    /// A PostgreSQL and a Redis: an api, a gateway and a worker can be started.
    Fleet(Servers),
    /// Nothing: all roles in one process, on SQLite.
    Alone,
}

/// Servers for one run.
pub struct Servers {
    /// The database made for this run.
    pub database: String,
    /// Where Redis is.
    pub redis: String,
    server: String,
    name: String,
}

impl Ground {
    /// Chooses by the configuration, and makes a database where there is a server for one.
    pub async fn prepare(settings: &Settings) -> anyhow::Result<Self> {
        let database = settings.database.database_url.as_ref().filter(|url| url.scheme().starts_with("postgres"));
        let redis = Some(&settings.redis.redis_url).filter(|url| url.scheme() != "memory");
        match (database, redis) {
            (None, None) => Ok(Self::Alone),
            (Some(database), Some(redis)) => {
                let name = format!("carillon_bench_{:08x}", rand::random::<u32>());
                let server = database.reveal().to_owned();
                let mut url: reqwest::Url = server.parse().context("database_url is no URL")?;
                url.set_path(&name);
                statement(&server, &format!("create database {name}")).await.context(
                    "no database can be made for the benchmark: name a user in CARILLON_DATABASE_URL that may",
                )?;
                let servers = Servers { database: url.into(), redis: redis.reveal().to_owned(), server, name };
                if let Err(error) = api::store::migrate(&servers.database).await {
                    servers.clear().await?;
                    return Err(error.into());
                }
                Ok(Self::Fleet(servers))
            }
            _ => bail!("a fleet needs both: set CARILLON_DATABASE_URL=postgres://… and CARILLON_REDIS_URL, or neither"),
        }
    }

    /// Takes away what was made.
    pub async fn clear(self) -> anyhow::Result<()> {
        match self {
            Self::Fleet(servers) => servers.clear().await,
            Self::Alone => Ok(()),
        }
    }
}

impl Servers {
    async fn clear(self) -> anyhow::Result<()> {
        statement(&self.server, &format!("drop database {} with (force)", self.name)).await
    }
}

async fn statement(url: &str, sql: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Pods under test: one of each role, or one that is all. They end when dropped.
pub struct Pods {
    /// Where REST is.
    pub api: SocketAddr,
    /// Where sockets are.
    pub gateway: SocketAddr,
    /// What signs tokens for them.
    pub secret: String,
    /// The process that holds the sockets.
    pub measured: Usage,
    _processes: Vec<Child>,
    _folder: Folder,
}

impl Pods {
    /// Starts them with settings as shipped, except that nobody is told to slow down, and waits until they are ready.
    pub async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let [secret, prefix] = [(); 2].map(|()| format!("{:032x}", rand::random::<u128>()));
        let mut environment = vec![
            ("CARILLON_JWT_SECRET", secret.clone()),
            ("CARILLON_REDIS_PREFIX", format!("bench-{prefix}")),
            ("CARILLON_GATEWAY__COMMANDS_PER_SECOND", "100000".to_owned()),
            ("CARILLON_LIMITS__SENDS", "0".to_owned()),
            ("CARILLON_LIMITS__PUBLISHES", "0".to_owned()),
            ("CARILLON_LOG_LEVEL", "warn".to_owned()),
        ];
        let start = |role: &'static str, environment: &[(&str, String)]| {
            let address = free_address()?;
            let log = std::fs::File::create(folder.0.join(format!("{role}.log")))?;
            let mut command = Command::new(program()?);
            command.args((role != "all").then_some(role)).env_clear().current_dir(&folder.0).kill_on_drop(true);
            command
                .env("CARILLON_LISTEN", address.to_string())
                .envs(environment.iter().map(|(name, value)| (name, value)));
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
            anyhow::Ok((address, child))
        };
        let (api, gateway, processes) = match ground {
            Ground::Alone => {
                let (address, child) = start("all", &environment)?;
                (address, address, vec![child])
            }
            Ground::Fleet(servers) => {
                let inside = free_address()?.to_string();
                environment.push(("CARILLON_DATABASE_URL", servers.database.clone()));
                environment.push(("CARILLON_REDIS_URL", servers.redis.clone()));
                environment.push(("CARILLON_API_URL", format!("http://{inside}")));
                environment.push(("CARILLON_INTERNAL_LISTEN", inside));
                let ((api, first), (_, second)) = (start("api", &environment)?, start("worker", &environment)?);
                let (gateway, measured) = start("gateway", &environment)?;
                (api, gateway, vec![measured, first, second])
            }
        };
        let measured = Usage::of(processes[0].id().context("it has ended")?);
        for address in [api, gateway] {
            ready(address).await.with_context(|| folder.logs())?;
        }
        Ok(Self { api, gateway, secret, measured, _processes: processes, _folder: folder })
    }
}

async fn ready(address: SocketAddr) -> anyhow::Result<()> {
    let (http, begun) = (reqwest::Client::new(), Instant::now());
    loop {
        let asked = http.get(format!("http://{address}/readyz")).timeout(Duration::from_secs(2)).send().await;
        match asked.and_then(reqwest::Response::error_for_status) {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > START => return Err(error).context("a pod did not become ready"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// An address of loopback that nobody listens on, below the range from which the system gives ports to clients.
fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..1_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(15_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}

/// A temporary folder; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("carillon-bench-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    /// What the pods have logged.
    fn logs(&self) -> String {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

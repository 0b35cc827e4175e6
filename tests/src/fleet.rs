//! A whole fleet: api, gateway and worker pods behind nginx, on PostgreSQL and Redis.
//!
//! Each fleet has its own pods, database and key prefix. Servers are shared among the tests of a process unless the test
//! breaks them. Between any two parts stands a [`Proxy`], so that every link can be broken alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::client::{User, token};
use crate::place::Place;
use crate::proxy::{Proxy, Weather};
use crate::servers::carillon::{Environment, Pod, Role, run};
use crate::servers::nginx::{Limits, Nginx};
use crate::servers::ports;
use crate::servers::postgres::Postgres;
use crate::servers::redis::{PASSWORD, Redis};
use crate::servers::scratch::Scratch;
use crate::servers::shared::Shared;

/// The secret whose tokens the fleet believes.
pub(crate) const SECRET: &str = "known-to-the-tests-and-to-the-fleet-under-test-only";

/// How long a pod may take to drain.
pub const GRACE: Duration = Duration::from_secs(60);
/// What a hook before the end of a pod waits, so that nobody sends anybody there.
const UNNAMED: Duration = Duration::from_secs(1);

static POSTGRES: Shared<Postgres> = Shared::new();
static REDIS: Shared<Redis> = Shared::new();

/// Which Redis a fleet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisShape {
    /// The one that tests share. It must not be broken; links to it may be.
    Shared,
    /// One server of its own.
    Standalone,
    /// Three masters of its own. Pods reach them without a proxy: nodes name their own addresses.
    Cluster,
    /// The same, each with a replica.
    ClusterOfPairs,
    /// A primary and a replica of its own, watched by a Sentinel. Pods reach them without a proxy.
    Sentinel,
}

/// Which PostgreSQL a fleet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresShape {
    /// The one that tests share. It must not be broken; links to it may be.
    Shared,
    /// One of its own.
    Own,
    /// One of its own that takes few connections, and whose disk can be filled where whoever runs this may mount one.
    Small,
}

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How many api pods.
    pub api: usize,
    /// How many gateway pods.
    pub gateway: usize,
    /// How many workers.
    pub worker: usize,
    /// Which Redis.
    pub redis: RedisShape,
    /// Which PostgreSQL.
    pub postgres: PostgresShape,
    /// Which limits nginx has.
    pub limits: Limits,
    /// Whether each pod has a clock of its own, where clocks can be set.
    pub clocks: bool,
    /// What every pod is told beyond what it needs.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            api: 2,
            gateway: 2,
            worker: 2,
            redis: RedisShape::Shared,
            postgres: PostgresShape::Shared,
            limits: Limits::None,
            clocks: false,
            environment: Vec::new(),
        }
    }
}

/// A running fleet. Fields are in the order in which they are ended.
pub struct Fleet {
    /// The api pods.
    pub api: Vec<Pod>,
    /// The gateway pods.
    pub gateway: Vec<Pod>,
    /// The workers.
    pub worker: Vec<Pod>,
    /// What stands before them.
    pub nginx: Nginx,
    links: BTreeMap<(String, String), Proxy>,
    /// Their Redis.
    pub redis: Arc<Redis>,
    /// Their PostgreSQL.
    pub postgres: Arc<Postgres>,
    database: Url,
    scratch: Scratch,
}

impl Fleet {
    /// Starts a fleet of two pods of each kind.
    ///
    /// # Panics
    ///
    /// When a server is not installed, or a pod does not become ready.
    pub async fn new() -> Self {
        Self::start(Shape::default()).await
    }

    /// Starts a fleet and waits until every pod is ready.
    ///
    /// # Panics
    ///
    /// When a server is not installed, or a pod does not become ready.
    pub async fn start(shape: Shape) -> Self {
        let mut fleet = Self::assemble(&shape).await.expect("a fleet can be started");
        for pod in fleet.pods() {
            pod.is_ready().await;
        }
        fleet
    }

    async fn assemble(shape: &Shape) -> anyhow::Result<Self> {
        let postgres = match shape.postgres {
            PostgresShape::Shared => POSTGRES.get(Postgres::start()).await?,
            PostgresShape::Own => Arc::new(Postgres::start().await?),
            PostgresShape::Small => Arc::new(Postgres::start_small().await?),
        };
        let redis = match shape.redis {
            RedisShape::Shared => REDIS.get(Redis::standalone()).await?,
            RedisShape::Standalone => Arc::new(Redis::standalone().await?),
            RedisShape::Cluster => Arc::new(Redis::cluster().await?),
            RedisShape::ClusterOfPairs => Arc::new(Redis::cluster_of_pairs().await?),
            RedisShape::Sentinel => Arc::new(Redis::sentinel().await?),
        };
        let database = postgres.database().await?;
        run(&["migrate"], &environment([("CARILLON_DATABASE_URL", database.as_str())]))?;

        let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
        let redis_has_users = matches!(shape.redis, RedisShape::Shared);
        if redis_has_users {
            redis.let_in(&prefix).await?;
        }
        let mut site = Site {
            database: database.parse()?,
            redis: redis.url(),
            redis_has_one_address: matches!(shape.redis, RedisShape::Shared | RedisShape::Standalone),
            redis_has_users,
            prefix,
            links: BTreeMap::new(),
            scratch: Scratch::new("fleet"),
        };
        let (api, internal) = site.api_pods(shape).await?;
        let gateway = site.gateway_pods(shape, &internal).await?;
        let worker = site.worker_pods(shape).await?;
        let mut doors = (Vec::new(), Vec::new());
        for pod in &api {
            doors.0.push(site.link("nginx", pod.name(), pod.port()).await);
        }
        for pod in &gateway {
            doors.1.push(site.link("nginx", pod.name(), pod.port()).await);
        }
        let nginx = Nginx::start(&doors.0, &doors.1, shape.limits).await?;
        let Site { database, links, scratch, .. } = site;
        let mut fleet = Self { api, gateway, worker, nginx, links, redis, postgres, database, scratch };
        if shape.clocks {
            let Self { api, gateway, worker, scratch, .. } = &mut fleet;
            let pods = api.iter_mut().chain(gateway).chain(worker);
            // Where there is no library for it, whoever wants to set one is told.
            pods.for_each(|pod| drop(pod.takes_clock(scratch.path())));
        }
        fleet.pods().for_each(Pod::start);
        Ok(fleet)
    }

    /// Every pod.
    pub fn pods(&mut self) -> impl Iterator<Item = &mut Pod> {
        self.api.iter_mut().chain(&mut self.gateway).chain(&mut self.worker)
    }

    /// Replaces a pod as Kubernetes does: it is named to nobody any more, a moment later told to end, and named again when the next
    /// one is ready.
    ///
    /// # Panics
    ///
    /// When there is no such pod, it does not end well and in time, or the next one is not ready in time.
    pub async fn replaces(&mut self, name: &str) {
        self.names_all_but(Some(name));
        tokio::time::sleep(UNNAMED).await;
        let pod = self.pods().find(|pod| pod.name() == name).unwrap_or_else(|| panic!("no pod is called {name}"));
        pod.stop(GRACE).await;
        pod.start();
        pod.is_ready().await;
        self.names_all_but(None);
    }

    /// Has nginx send everybody to all pods but one.
    fn names_all_but(&mut self, pod: Option<&str>) {
        let links = &self.links;
        let doors = |pods: &[Pod]| -> Vec<u16> {
            let named = pods.iter().map(Pod::name).filter(|name| Some(*name) != pod);
            named.map(|name| links[&("nginx".to_owned(), name.to_owned())].port()).collect()
        };
        let (api, gateway) = (doors(&self.api), doors(&self.gateway));
        self.nginx.reload(&api, &gateway);
    }

    /// Where users come in: `host:port` of nginx.
    #[must_use]
    pub fn door(&self) -> String {
        format!("127.0.0.1:{}", self.nginx.port())
    }

    /// The link from one part to another, by their names: `gateway-1`, `nginx`, `redis`, `postgres`.
    ///
    /// # Panics
    ///
    /// When there is no such link.
    #[must_use]
    pub fn link(&self, from: &str, to: &str) -> &Proxy {
        self.links.get(&(from.to_owned(), to.to_owned())).unwrap_or_else(|| panic!("no link from {from} to {to}"))
    }

    /// Changes the weather on every link to `to`.
    pub fn weather_towards(&self, to: &str, weather: Weather) {
        self.links.iter().filter(|((_, target), _)| target == to).for_each(|(_, proxy)| proxy.becomes(weather));
    }

    /// Changes the weather on every link there is.
    pub fn weather_everywhere(&self, weather: Weather) {
        self.links.values().for_each(|proxy| proxy.becomes(weather));
    }

    /// Resets every connection that nginx has to gateways, and so those of all clients; new ones are welcome.
    pub fn cut_clients(&self) {
        let of_clients = |(from, to): &(String, String)| from == "nginx" && to.starts_with("gateway");
        self.links.iter().filter(|(ends, _)| of_clients(ends)).for_each(|(_, proxy)| proxy.cut());
    }

    /// Resets every connection between any two parts; new ones are welcome.
    pub fn cut_everywhere(&self) {
        self.links.values().for_each(Proxy::cut);
    }

    /// The columns of a table, as `information_schema` knows them.
    ///
    /// # Panics
    ///
    /// When the database does not answer.
    pub async fn columns(&self, table: &str) -> Vec<String> {
        let mut connection = self.console().await.expect("the database answers");
        let columns = "select column_name::text from information_schema.columns where table_name = $1";
        sqlx::query_scalar(columns).bind(table).fetch_all(&mut connection).await.expect("the catalogue can be read")
    }

    /// Every row of a table as JSON, in some order.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn rows(&self, table: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut connection = self.console().await?;
        let rows = AssertSqlSafe(format!("select to_jsonb(t) from {table} t"));
        Ok(sqlx::query_scalar(rows).fetch_all(&mut connection).await?)
    }

    /// A connection to the fleet's database, for whoever stands at the console.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn console(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(self.database.as_str()).await?)
    }

    /// Runs statements on the fleet's database, as whoever stands at the console.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        let mut connection = self.console().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        Ok(())
    }

    /// The names of all links, from and to.
    pub fn links(&self) -> impl Iterator<Item = &(String, String)> {
        self.links.keys()
    }

    /// Runs a tool of the program on the fleet's database, and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it fails, with everything it said.
    pub fn runs(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(arguments, &environment([("CARILLON_DATABASE_URL", self.database.as_str())]))
    }
}

impl Place for Fleet {
    fn user_with_role(&self, name: &str, role: &str) -> User {
        User::new(name, token(SECRET, name, role), self.door())
    }

    /// Not through nginx, which would choose.
    fn at_gateway(&self, user: &User, gateway: usize) -> User {
        user.with_sockets_at(format!("127.0.0.1:{}", self.gateway[gateway].port()))
    }
}

/// What pods are told, while a fleet is being put together.
struct Site {
    database: Url,
    redis: String,
    redis_has_one_address: bool,
    /// Whether each role is a user of its own there. A server that is started again does not know them any more.
    redis_has_users: bool,
    prefix: String,
    links: BTreeMap<(String, String), Proxy>,
    scratch: Scratch,
}

impl Site {
    /// Puts a proxy between two parts and returns its port.
    async fn link(&mut self, from: &str, to: &str, port: u16) -> u16 {
        let proxy = Proxy::before(format!("127.0.0.1:{port}")).await;
        let port = proxy.port();
        self.links.insert((from.to_owned(), to.to_owned()), proxy);
        port
    }

    /// How `from` reaches Redis.
    async fn redis(&mut self, from: &str) -> anyhow::Result<[(&'static str, String); 2]> {
        let mut url = self.redis.clone();
        if self.redis_has_one_address {
            let direct: Url = url.parse()?;
            let port = self.link(from, "redis", direct.port().context("a port")?).await;
            let (role, _) = from.split_once('-').context("a role and a number")?;
            let user = if self.redis_has_users { format!("{}-{role}:{PASSWORD}@", self.prefix) } else { String::new() };
            url = format!("redis://{user}127.0.0.1:{port}");
        }
        Ok([("CARILLON_REDIS_URL", url), ("CARILLON_REDIS_PREFIX", self.prefix.clone())])
    }

    /// How `from` reaches PostgreSQL.
    async fn database(&mut self, from: &str) -> anyhow::Result<(&'static str, String)> {
        let mut url = self.database.clone();
        let port = self.link(from, "postgres", url.port().context("a port")?).await;
        url.set_port(Some(port)).ok().context("a URL with a host")?;
        Ok(("CARILLON_DATABASE_URL", url.to_string()))
    }

    /// The folder that all of them share.
    fn attachments(&self) -> (&'static str, String) {
        ("CARILLON_ATTACHMENTS__URL", format!("file://{}", self.scratch.path().join("attachments").display()))
    }

    /// The api pods, and the ports of their internal listeners.
    async fn api_pods(&mut self, shape: &Shape) -> anyhow::Result<(Vec<Pod>, Vec<u16>)> {
        let (mut pods, mut internal) = (Vec::new(), Vec::new());
        for number in 1..=shape.api {
            let name = format!("api-{number}");
            let port = ports::free();
            let mut told = environment(EVERY_POD);
            told.extend(environment(self.redis(&name).await?));
            told.extend(environment([
                self.database(&name).await?,
                ("CARILLON_JWT_SECRET", SECRET.to_owned()),
                ("CARILLON_INTERNAL_LISTEN", format!("127.0.0.1:{port}")),
                self.attachments(),
            ]));
            told.extend(environment(shape.environment.iter().cloned()));
            pods.push(Pod::new(Role::Api, number, told, self.scratch.path()));
            internal.push(port);
        }
        Ok((pods, internal))
    }

    async fn gateway_pods(&mut self, shape: &Shape, internal: &[u16]) -> anyhow::Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for number in 1..=shape.gateway {
            let name = format!("gateway-{number}");
            let mut api = Vec::new();
            for (index, port) in internal.iter().enumerate() {
                let port = self.link(&name, &format!("api-{}", index + 1), *port).await;
                api.push(format!("http://127.0.0.1:{port}"));
            }
            let mut told = environment(EVERY_POD);
            told.extend(environment(self.redis(&name).await?));
            told.extend(environment([("CARILLON_API_URL", api.join(",")), ("CARILLON_JWT_SECRET", SECRET.to_owned())]));
            told.extend(environment(shape.environment.iter().cloned()));
            pods.push(Pod::new(Role::Gateway, number, told, self.scratch.path()));
        }
        Ok(pods)
    }

    async fn worker_pods(&mut self, shape: &Shape) -> anyhow::Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for number in 1..=shape.worker {
            let name = format!("worker-{number}");
            let mut told = environment(EVERY_POD);
            told.extend(environment(self.redis(&name).await?));
            told.extend(environment([self.database(&name).await?, self.attachments()]));
            told.extend(environment(shape.environment.iter().cloned()));
            pods.push(Pod::new(Role::Worker, number, told, self.scratch.path()));
        }
        Ok(pods)
    }
}

/// What every pod is told, whatever it is. People in tests talk as fast as they are answered.
const EVERY_POD: [(&str, &str); 3] =
    [("CARILLON_DRAIN_WINDOW", "3s"), ("CARILLON_LIMITS__SENDS", "0"), ("CARILLON_LIMITS__PUBLISHES", "0")];

fn environment<V: Into<String>>(pairs: impl IntoIterator<Item = (&'static str, V)>) -> Environment {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

//! `carillon doctor`: connects to everything the configuration names, and says what is wrong and what to do.

use std::time::Duration;

use anyhow::bail;
use shared::broker::LinkState;
use shared::config::Address;
use shared::upstream::SECRET_HEADER;

use crate::broker::Broker;
use crate::settings::{Role, Settings};
use crate::store;

/// How long anybody may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found out about one thing: that it works, or what is wrong and what to do.
type Finding = Result<String, (String, &'static str)>;

pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut ill = 0;
    let mut tell = |what: &str, finding: Finding| match finding {
        Ok(good) => println!("ok    {what}: {good}"),
        Err((wrong, remedy)) => {
            ill += 1;
            println!("wrong {what}: {wrong}\n      → {remedy}");
        }
    };
    tell("configuration", Ok(format!("no problems for role {}", settings.role.name())));
    for warning in settings.warnings() {
        tell("configuration", Err((warning, "give it a longer one, everywhere at once")));
    }
    if settings.role != Role::Gateway {
        tell(&format!("database {}", settings.database_url_shown()), database(&settings).await);
    }
    tell(&format!("broker {}", settings.redis.redis_url), broker(&settings).await);
    for url in &settings.internal.api_url {
        tell(&format!("api {url}"), api(&settings, url).await);
    }
    if ill > 0 {
        bail!("{ill} of these must be mended");
    }
    Ok(())
}

async fn database(settings: &Settings) -> Finding {
    let remedy =
        "see that the server runs, that the login of database_url may connect, and that `carillon migrate` was run";
    let store = store::open(settings).map_err(|error| (format!("{error:#}"), remedy))?;
    match tokio::time::timeout(PATIENCE, async { (store.check().await, store.epoch().await) }).await {
        Ok((Ok(()), Ok(epoch))) => Ok(format!("reachable, with the right schema, epoch {epoch}")),
        Ok((Err(error), _) | (_, Err(error))) => Err((store::reason(&error), remedy)),
        Err(_) => Err(("does not answer".to_owned(), remedy)),
    }
}

async fn broker(settings: &Settings) -> Finding {
    let remedy = "see that Redis runs and that redis_url has its address, kind and password";
    let broker = Broker::new(settings).map_err(|error| (error.to_string(), remedy))?;
    let mut link = broker.link().await.link;
    match tokio::time::timeout(PATIENCE, link.state.wait_for(|state| *state == LinkState::Up)).await {
        Ok(Ok(_)) => Ok("reachable".to_owned()),
        _ => Err(("does not answer".to_owned(), remedy)),
    }
}

async fn api(settings: &Settings, url: &Address) -> Finding {
    let client = reqwest::Client::builder().timeout(PATIENCE).build();
    let client = client.map_err(|error| (error.to_string(), "see that the system has TLS certificates"))?;
    let heads = format!("{}/internal/v1/heads", url.reveal().trim_end_matches('/'));
    let secret = settings.internal_secret().map(|secret| secret.reveal().to_owned()).unwrap_or_default();
    match client.get(heads).header(SECRET_HEADER, secret).send().await {
        Ok(answer) if answer.status().is_success() => Ok("reachable, and believes this pod".to_owned()),
        Ok(answer) if answer.status() == reqwest::StatusCode::UNAUTHORIZED => {
            Err(("does not believe this pod".to_owned(), "give both the same jwt_secret, or the same internal_secret"))
        }
        Ok(answer) if answer.status() == reqwest::StatusCode::NOT_FOUND => {
            Err(("is no internal listener".to_owned(), "api_url must name the port of internal_listen, not of listen"))
        }
        Ok(answer) => Err((format!("answers {}", answer.status()), "see the logs of that api pod")),
        Err(_) => {
            Err(("cannot be reached".to_owned(), "see that the api runs and that api_url has its internal_listen"))
        }
    }
}

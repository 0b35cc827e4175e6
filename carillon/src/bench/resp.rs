//! Redis, bare: publish and subscribe over one connection each, as RESP2 has it, with no client library between.

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection to Redis.
pub struct Redis(BufReader<TcpStream>);

impl Redis {
    /// Connects to a `redis://` address; `None` for other kinds, which need more than a connection.
    pub async fn connect(url: &str) -> anyhow::Result<Option<Self>> {
        let url: reqwest::Url = url.parse().context("redis_url is no URL")?;
        if url.scheme() != "redis" {
            return Ok(None);
        }
        let address = (url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(6_379));
        let stream = TcpStream::connect(address).await.context("Redis does not answer")?;
        stream.set_nodelay(true)?;
        let mut redis = Self(BufReader::new(stream));
        if let Some(password) = url.password() {
            let user = if url.username().is_empty() { "default" } else { url.username() };
            redis.command(&["AUTH", user, password]).await?;
        }
        Ok(Some(redis))
    }

    /// Publishes, and waits until Redis has.
    pub async fn publish(&mut self, channel: &str, text: &str) -> anyhow::Result<()> {
        self.command(&["PUBLISH", channel, text]).await.map(drop)
    }

    /// Hears a channel from now on.
    pub async fn subscribe(&mut self, channel: &str) -> anyhow::Result<()> {
        self.command(&["SUBSCRIBE", channel]).await.map(drop)
    }

    /// Waits for the next thing said on the channel.
    pub async fn next(&mut self) -> anyhow::Result<String> {
        self.answer().await?.pop().context("Redis says nothing")
    }

    async fn command(&mut self, words: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        self.0.write_all(text.as_bytes()).await?;
        self.answer().await
    }

    /// The texts and numbers of the next answer, however it nests.
    async fn answer(&mut self) -> anyhow::Result<Vec<String>> {
        let (mut words, mut left) = (Vec::new(), 1);
        while left > 0 {
            left -= 1;
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            let (kind, rest) = line.trim_end().split_at_checked(1).context("Redis hung up")?;
            match kind {
                "+" | ":" => words.push(rest.to_owned()),
                "*" => left += rest.parse::<usize>()?,
                "$" => {
                    let mut text = vec![0; rest.parse::<usize>()? + 2];
                    self.0.read_exact(&mut text).await?;
                    text.truncate(text.len() - 2);
                    words.push(String::from_utf8(text)?);
                }
                _ => bail!("Redis refused: {rest}"),
            }
        }
        Ok(words)
    }
}

//! What only Redis can suffer: absence, frost, amnesia, and another primary.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::proxy::{Proxy, Way, Weather};
use fleet::servers::redis::{PASSWORD, Redis};
use shared::access::Caller;
use shared::broker::redis::{RedisSettings, open};
use shared::broker::{BrokerError, Delivery, Gap, Link, LinkState, Linked};
use shared::channel::{Channel, Role};
use shared::config::Value as _;
use shared::envelope::{Content, Entry, Envelope};
use shared::event::{DurableBody, LiveBody, Topic};
use shared::history::{History, Retention};
use shared::ids::{Epoch, PodId, RoomName, Seq, TraceId, UserId};
use shared::limits::{Deed, Doer, Limit, LimitSettings, Limits};
use shared::presence::{Availability, HELD, PresenceError, Status};
use shared::tickets::{Holder, Ticket};
use shared::time::Timestamp;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const KEEP: Retention = Retention { entries: 10, age: Duration::from_secs(600) };

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_starts_before_redis_hears_once_redis_is_there() {
    let redis = Redis::standalone().await.expect("a redis");
    redis.kill();
    let (mut link, _) = connect(&redis).await;
    assert_ne!(*link.state.borrow(), LinkState::Up);
    assert!(matches!(link.broker.subscribe(&[lobby()]).await, Err(BrokerError::Unavailable(_))));
    assert!(matches!(link.broker.publish(&[hello()]).await, Err(BrokerError::Unavailable(_))));

    redis.restart_empty().await.expect("a restart");
    assert_eq!(next(&mut link).await, Delivery::Gap(Gap::Everything));
    until_heard(&mut link).await;
    until_up(&mut link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_wanted_while_the_link_is_down_is_heard_when_it_is_back() {
    let redis = Redis::standalone().await.expect("a redis");
    let (mut link, _) = connect(&redis).await;
    redis.kill();
    until_down(&mut link).await;
    assert!(link.broker.subscribe(&[lobby()]).await.is_err());
    redis.restart_empty().await.expect("a restart");
    assert_eq!(next(&mut link).await, Delivery::Gap(Gap::Everything));
    until_heard(&mut link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_left_while_the_link_is_down_stays_silent() {
    let redis = Redis::standalone().await.expect("a redis");
    let (mut link, _) = connect(&redis).await;
    let left: Channel = "room:left".parse().expect("a channel");
    link.broker.subscribe(&[lobby(), left.clone()]).await.expect("a subscription");
    redis.kill();
    until_down(&mut link).await;
    link.broker.unsubscribe(std::slice::from_ref(&left)).await.expect("an unsubscription");
    redis.restart_empty().await.expect("a restart");
    assert_eq!(next(&mut link).await, Delivery::Gap(Gap::Everything));
    let both = [Envelope { channel: left, ..hello() }, hello()];
    timeout(DEADLINE, async { while link.broker.publish(&both).await.is_err() {} }).await.expect("a publish");
    assert_eq!(next(&mut link).await, Delivery::Envelope(hello()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_delays_nobody_beyond_the_deadline_and_is_noticed() {
    let redis = Redis::standalone().await.expect("a redis");
    let (mut link, history) = connect(&redis).await;
    link.broker.subscribe(&[lobby()]).await.expect("a subscription");
    redis.pause();
    let begun = Instant::now();
    let other: Channel = "room:other".parse().expect("a channel");
    let room: RoomName = "lobby".parse().expect("a room");
    let (hello, other) = ([hello()], [other]);
    let (published, subscribed, read) =
        tokio::join!(link.broker.publish(&hello), link.broker.subscribe(&other), history.read(&room, None));
    assert!(published.is_err() && subscribed.is_err() && read.is_err());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    until_down(&mut link).await;

    redis.resume();
    until_heard(&mut link).await;
    timeout(DEADLINE, link.state.wait_for(|state| *state == LinkState::Up))
        .await
        .expect("up in time")
        .expect("a state");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_is_refused_at_once() {
    let redis = Redis::standalone().await.expect("a redis");
    let (link, _) = connect(&redis).await;
    redis.pause();
    let large = Envelope { content: content(Bytes::from(vec![b'x'; 1024 * 1024])), ..hello() };
    let publishes = (0..32).map(async |_| link.broker.publish(std::slice::from_ref(&large)).await);
    let answers = futures_util::future::join_all(publishes).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(BrokerError::Overloaded))).count();
    assert!((16..32).contains(&refused), "{refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_redis_forgot_is_found_although_every_connection_is_well() {
    let redis = Redis::cluster().await.expect("a cluster");
    let (mut link, _) = connect(&redis).await;
    // The probe of a node goes through the first bucket that lives there: b000 is one of them.
    let channel = (0..).map(|n| format!("room:r{n}").parse().expect("a channel"));
    let channel = channel.into_iter().find(|channel: &Channel| channel.bucket().index() == 0).expect("buckets fill");
    link.broker.subscribe(std::slice::from_ref(&channel)).await.expect("a subscription");
    let slot = redis.cli(0, &["CLUSTER", "KEYSLOT", "b000"]).await.expect("a slot").parse().expect("a number");
    // Once around: in the end the owner is the same, but it has no subscribers any more.
    for _ in 0..redis.nodes() {
        redis.move_slot(slot).await.expect("a move");
    }
    match next(&mut link).await {
        Delivery::Gap(Gap::Everything) => {}
        Delivery::Gap(Gap::Buckets(buckets)) => assert!(buckets.contains(&channel.bucket())),
        Delivery::Envelope(envelope) => panic!("nobody said {envelope:?}"),
    }
    until_said(&mut link, &Envelope { channel, ..hello() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_redis_forgot_begins_another_epoch() {
    let redis = Redis::standalone().await.expect("a redis");
    let (_link, history) = connect(&redis).await;
    let before = publish(&*history).await.expect("a position");
    redis.flush().await.expect("a flush");
    let after = publish(&*history).await.expect("a position");
    assert_eq!(after.offset, Seq(1));
    assert_ne!(after.epoch, before.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_took_over_gives_no_number_twice_in_one_epoch() {
    let redis = Redis::sentinel().await.expect("a redis with a sentinel");
    let (_link, history) = connect(&redis).await;
    let room: RoomName = "lobby".parse().expect("a room");
    let before = publish(&*history).await.expect("a position");
    redis.fail_over().await.expect("a failover");
    let after = timeout(DEADLINE, async {
        loop {
            if let Ok(position) = publish(&*history).await {
                break position;
            }
        }
    });
    let after = after.await.expect("a position in time");
    assert_ne!(after.epoch, before.epoch);
    let recovered = history.read(&room, Some(&before)).await.expect("a reading");
    assert_eq!((recovered.complete, recovered.top), (false, Some(after)));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_whom_redis_forgot_are_here_again_under_another_lease() {
    let redis = Redis::standalone().await.expect("a redis");
    let Linked { link: _link, presence, .. } = open_at(&redis).await;
    let lasts = Duration::from_secs(600);
    let mut lease = presence.begin(lasts).await.expect("a lease");
    let alice: UserId = "alice".parse().expect("an id");
    let here = [(alice.clone(), Availability::Online)];
    presence.put(&lease, None, &here).await.expect("written");
    redis.flush().await.expect("a flush");
    let before = presence.read(std::slice::from_ref(&alice)).await.expect("a reading");
    assert_eq!(before[0].state, Availability::Offline);
    assert!(matches!(presence.put(&lease, None, &here).await, Err(PresenceError::Ended)));
    assert!(matches!(presence.renew(&mut lease, lasts).await, Err(PresenceError::Ended)));
    let other = presence.begin(lasts).await.expect("a lease");
    presence.put(&other, Some(lease.holder), &here).await.expect("written");
    let after = presence.read(&[alice]).await.expect("a reading");
    assert_eq!(after[0].state, Availability::Online);
}

/// A server that lost a lease, and the list of whom it was about, leaves fields behind of which nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_forgotten_gateway_wrote_ends_when_another_one_writes_the_person_after_a_while() {
    let redis = Redis::standalone().await.expect("a redis");
    let Linked { mut link, presence, .. } = open_at(&redis).await;
    let alice: UserId = "alice".parse().expect("an id");
    link.broker.subscribe(&[Channel::Presence(alice.clone())]).await.expect("a subscription");
    let lease = presence.begin(Duration::from_secs(600)).await.expect("a lease");
    let here = [(alice.clone(), Availability::Online)];
    presence.put(&lease, None, &here).await.expect("written");
    assert!(matches!(next(&mut link).await, Delivery::Envelope(_)));
    let key = redis.cli(0, &["--raw", "KEYS", "*person:alice"]).await.expect("a key");
    let leaves = async |age: Duration| {
        let written_at = Timestamp::now().as_micros() / 1_000 - age.as_millis() as i64;
        redis.cli(0, &["HSET", key.trim(), "forgotten", &format!("dnd {written_at}")]).await.expect("written");
    };
    let state = async || presence.read(std::slice::from_ref(&alice)).await.expect("a reading")[0].state;
    leaves(HELD / 2).await;
    presence.put(&lease, None, &here).await.expect("written");
    assert_eq!(state().await, Availability::Dnd, "it may still be written anew");
    leaves(HELD * 2).await;
    assert_eq!(state().await, Availability::Dnd, "nobody was told otherwise");
    presence.put(&lease, None, &here).await.expect("written");
    assert_eq!(state().await, Availability::Online);
    let Delivery::Envelope(Envelope { content: Content::Sign(body), .. }) = next(&mut link).await else {
        panic!("a change is told");
    };
    assert_eq!(Status::heard(&body).map(|status| status.state), Some(Availability::Online));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_frozen_a_pod_counts_turns_alone_and_hardly_waits() {
    let redis = Redis::standalone().await.expect("a redis");
    let Linked { link: _link, limiter, .. } = open_at(&redis).await;
    let sends = Limit::parse("5/10h").expect("a limit");
    let limits = Limits::new(LimitSettings { sends, ..LimitSettings::default() }, limiter);
    let alice = caller("alice");
    let take = async |times| {
        let mut taken = 0;
        for _ in 0..times {
            taken += usize::from(limits.check(Deed::Send, &alice).await.is_ok());
        }
        taken
    };
    assert_eq!(take(10).await, 5);
    redis.pause();
    let begun = Instant::now();
    assert_eq!(take(10).await, 5, "as many as it allows, and no more");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    redis.resume();
    assert_eq!(take(1).await, 0);
}

/// The client sends a command again whose connection broke before it was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_whose_answer_was_lost_stands_in_its_room_once() {
    let redis = Redis::standalone().await.expect("a redis");
    let port = redis.url().rsplit_once(':').expect("a port").1.to_owned();
    let proxy = Proxy::before(format!("127.0.0.1:{port}")).await;
    let through_proxy = RedisSettings::new(&format!("redis://127.0.0.1:{}", proxy.port()), "test").expect("settings");
    let (Linked { history: far, .. }, (mut link, near)) = (open(&through_proxy).await, connect(&redis).await);
    link.broker.subscribe(&[lobby()]).await.expect("a subscription");
    let room: RoomName = "lobby".parse().expect("a room");
    let remembered = async || near.read(&room, None).await.expect("a reading").envelopes.len();
    // The server knows the script from then on.
    publish(&*far).await.expect("a position");
    assert!(matches!(next(&mut link).await, Delivery::Envelope(_)));
    for round in 2..7 {
        proxy.becomes(Weather::Mute(Way::Back));
        let cut = async {
            while remembered().await < round {}
            proxy.cut();
            proxy.becomes(Weather::Fine);
        };
        let both = async { tokio::join!(publish(&*far), cut) };
        let (answer, ()) = timeout(DEADLINE, both).await.expect("done in time");
        if let Ok(position) = answer {
            assert_eq!(position.offset, Seq(round as u64));
        }
        assert_eq!(remembered().await, round);
        assert!(matches!(next(&mut link).await, Delivery::Envelope(_)));
        let connected = async { while far.read(&room, None).await.is_err() {} };
        timeout(DEADLINE, connected).await.expect("connected again in time");
    }
    assert!(timeout(Duration::from_millis(200), link.deliveries.next()).await.is_err(), "nothing is heard twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_on_one_channel_for_another_one_is_not_heard() {
    let redis = Redis::standalone().await.expect("a redis");
    let (mut link, _) = connect(&redis).await;
    let [alice, everybody]: [Channel; 2] = ["user:alice", "all"].map(|channel| channel.parse().expect("a channel"));
    link.broker.subscribe(&[lobby(), alice.clone(), everybody.clone()]).await.expect("subscriptions");
    let (lobby, alice, everybody) = (&lobby(), &alice, &everybody);
    // The last alone stands where it belongs.
    for (on, of) in [(lobby, alice), (lobby, everybody), (alice, everybody), (everybody, alice), (lobby, lobby)] {
        let name = format!("test:{{{}}}:{on}", on.bucket());
        let said = Envelope { channel: of.clone(), ..hello() }.encode();
        let said = std::str::from_utf8(&said).expect("text");
        assert_eq!(redis.cli(0, &["SPUBLISH", &name, said]).await.expect("published"), "1", "somebody listens");
    }
    let Delivery::Envelope(heard) = next(&mut link).await else { panic!("nothing is lost") };
    assert_eq!(heard.channel, *lobby);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_in_redis_what_it_does_and_nothing_else() {
    let (alone, cluster) = (Redis::standalone().await.expect("a redis"), Redis::cluster().await.expect("a cluster"));
    for redis in [alone, Redis::sentinel().await.expect("a redis with a sentinel"), cluster] {
        redis.let_in("test").await.expect("users");
        let as_user = async |role: &str| {
            let url = redis.url().replacen("://", &format!("://test-{role}:{PASSWORD}@"), 1);
            open(&RedisSettings::new(&url, "test").expect("settings")).await
        };
        let (mut gateway, api, worker) = (as_user("gateway").await, as_user("api").await, as_user("worker").await);
        let (alice, room): (UserId, RoomName) = ("alice".parse().expect("an id"), "lobby".parse().expect("a room"));
        let feed = Channel::User(alice.clone());

        // What each does.
        let wanted = [lobby(), feed.clone(), Channel::Heads, Channel::All, Channel::Presence(alice.clone())];
        gateway.link.broker.subscribe(&wanted).await.expect("a gateway hears everything");
        let heard = async |link: &mut Link, channel: &Channel| {
            let Delivery::Envelope(envelope) = next(link).await else { panic!("nothing is lost") };
            assert_eq!(envelope.channel, *channel);
        };
        for (linked, channel) in [(&api, &feed), (&worker, &feed), (&api, &Channel::All), (&worker, &Channel::Heads)] {
            let said = [Envelope { channel: channel.clone(), ..hello() }, entry(channel, false), entry(channel, true)];
            linked.link.broker.publish(&said).await.expect("api and workers announce");
            for _ in said {
                heard(&mut gateway.link, channel).await;
            }
        }
        let conversation: Channel = "room:conversation:1".parse().expect("a channel");
        gateway.link.broker.subscribe(std::slice::from_ref(&conversation)).await.expect("a subscription");
        for channel in [&conversation, &Channel::Presence(alice.clone())] {
            api.link
                .broker
                .publish(&[Envelope { channel: channel.clone(), ..hello() }])
                .await
                .expect("receipts, doubts");
            heard(&mut gateway.link, channel).await;
        }
        publish(&*gateway.history).await.expect("a gateway publishes in rooms");
        heard(&mut gateway.link, &lobby()).await;
        gateway.link.broker.publish(&[hello()]).await.expect("in those without history, too");
        heard(&mut gateway.link, &lobby()).await;
        assert_eq!(gateway.history.read(&room, None).await.expect("a reading").envelopes.len(), 1);
        gateway.history.window(&feed, Epoch(1), Seq(0)).await.expect("a gateway reads windows");
        let mut lease = gateway.presence.begin(Duration::from_secs(60)).await.expect("a lease");
        gateway.presence.put(&lease, None, &[(alice.clone(), Availability::Online)]).await.expect("written");
        heard(&mut gateway.link, &Channel::Presence(alice.clone())).await;
        gateway.presence.renew(&mut lease, Duration::from_millis(1)).await.expect("renewed");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let status = api.presence.read(std::slice::from_ref(&alice)).await.expect("the api reads who is here");
        assert_eq!(status[0].state, Availability::Online, "and finds whom a dead gateway had");
        let sweep = async || gateway.presence.sweep(PodId::new(), Duration::from_secs(10), 100).await.expect("swept");
        timeout(DEADLINE, async { while sweep().await == 0 {} }).await.expect("swept in time");
        let status = api.presence.read(std::slice::from_ref(&alice)).await.expect("the api reads who is here");
        assert_eq!(status[0].state, Availability::Offline);
        let (seat, rate) = (uuid::Uuid::now_v7(), Limit::parse("5/1m").and_then(|limit| limit.0).expect("a rate"));
        for linked in [&api, &gateway] {
            linked.limiter.take(&Doer::User(alice.clone()), Deed::Send, rate).await.expect("a turn");
        }
        assert!(gateway.limiter.hold(&alice, seat, 1, DEADLINE).await.expect("a seat"));
        gateway.limiter.go_on_holding(&alice, &[seat], DEADLINE).await.expect("still a seat");
        gateway.limiter.leave(&alice, seat).await.expect("none any more");
        let (ticket, holder) = (Ticket::random(), Holder { caller: caller("alice"), origin: None });
        api.tickets.keep(&ticket, &holder, DEADLINE).await.expect("the api makes out tickets");
        assert_eq!(gateway.tickets.take(&ticket).await.expect("a gateway takes them in"), Some(holder.clone()));
        assert_eq!(refused(&redis).await, "", "nothing was refused");

        // What none of its business is.
        let says = |linked: &Linked, channel: Channel| {
            let (broker, said) = (std::sync::Arc::clone(&linked.link.broker), Envelope { channel, ..hello() });
            async move { broker.publish(&[said]).await }
        };
        for channel in [feed.clone(), Channel::All, Channel::Fleet, Channel::Heads] {
            is_refused(&redis, "no gateway speaks for others", says(&gateway, channel)).await;
        }
        is_refused(&redis, "no worker speaks in rooms", says(&worker, lobby())).await;
        is_refused(&redis, "no api pod speaks in rooms", says(&api, lobby())).await;
        for linked in [&api, &worker] {
            let listens = linked.link.broker.subscribe(std::slice::from_ref(&feed));
            is_refused(&redis, "gateways alone listen to what people are told", listens).await;
            is_refused(&redis, "gateways alone publish in rooms", publish(&*linked.history)).await;
            is_refused(&redis, "gateways alone say who is here", linked.presence.begin(DEADLINE)).await;
        }
        for linked in [&worker, &gateway] {
            let forged = linked.tickets.keep(&ticket, &holder, DEADLINE);
            is_refused(&redis, "api pods alone make out tickets", forged).await;
        }
        for role in ["api", "worker", "gateway"] {
            for command in [
                &["FLUSHALL"][..],
                &["KEYS", "*"],
                &["CONFIG", "GET", "*"],
                &["ACL", "LIST"],
                &["MONITOR"],
                &["CLIENT", "LIST"],
                &["PUBSUB", "SHARDCHANNELS"],
                &["SET", "{b001}:of-somebody-else", "x"],
                &["SET", "test:{b001}:made-up", "x"],
                &["EVAL", "return redis.call('SET', 'test:{b001}:made-up', 'x')", "0"],
                &["EVAL", "return redis.call('SPUBLISH', 'test:{b001}:made-up', 'x')", "0"],
            ] {
                let user = format!("test-{role}");
                let as_user = ["--user", &user, "--pass", PASSWORD, "--no-auth-warning"];
                let command = [&as_user[..], command].concat();
                is_refused(&redis, &format!("{command:?}"), redis.cli(0, &command)).await;
            }
        }
    }
}

/// What a Redis has refused since it was asked last, for want of leave.
async fn refused(redis: &Redis) -> String {
    let mut refused = String::new();
    for node in 0..redis.nodes() {
        refused += &redis.cli(node, &["ACL", "LOG"]).await.expect("a log");
        redis.cli(node, &["ACL", "LOG", "RESET"]).await.expect("an empty log");
    }
    refused
}

/// Checks that an attempt fails, and for want of leave.
async fn is_refused<T, E>(redis: &Redis, why: &str, attempt: impl Future<Output = Result<T, E>>) {
    refused(redis).await;
    assert!(attempt.await.is_err(), "it may: {why}");
    assert_ne!(refused(redis).await, "", "it failed for want of something else: {why}");
}

fn entry(channel: &Channel, redacts: bool) -> Envelope {
    let body = DurableBody::from_trusted(Bytes::from_static(b"{\"a\":1"));
    let content = Content::Entry(Entry {
        epoch: Epoch(1),
        seq: Seq(1 + u64::from(redacts)),
        topic: Topic::Messaging,
        unread: None,
        redacts,
        revokes: false,
        closes: false,
        body,
    });
    Envelope { channel: channel.clone(), content, ..hello() }
}

async fn connect(redis: &Redis) -> (Link, std::sync::Arc<dyn History>) {
    let Linked { link, history, .. } = open_at(redis).await;
    (link, history)
}

async fn open_at(redis: &Redis) -> Linked {
    open(&RedisSettings::new(&redis.url(), "test").expect("settings")).await
}

async fn next(link: &mut Link) -> Delivery {
    timeout(DEADLINE, link.deliveries.next()).await.expect("a delivery in time").expect("the broker is there")
}

async fn until_down(link: &mut Link) {
    let down = link.state.wait_for(|state| matches!(state, LinkState::Down { .. }));
    timeout(DEADLINE, down).await.expect("down in time").expect("a state");
}

async fn until_up(link: &mut Link) {
    let up = link.state.wait_for(|state| *state == LinkState::Up);
    timeout(DEADLINE, up).await.expect("up in time").expect("a state");
}

async fn until_heard(link: &mut Link) {
    until_said(link, &hello()).await;
}

/// Says it until it is heard. Gaps that come meanwhile are what a link coming back has to tell.
async fn until_said(link: &mut Link, envelope: &Envelope) {
    let heard = async {
        loop {
            let _ = link.broker.publish(std::slice::from_ref(envelope)).await;
            while let Ok(delivery) = timeout(Duration::from_millis(200), link.deliveries.next()).await {
                if delivery == Some(Delivery::Envelope(envelope.clone())) {
                    return;
                }
            }
        }
    };
    timeout(DEADLINE, heard).await.expect("it is heard in time");
}

fn caller(name: &str) -> Caller {
    let (user, expires_at) = (name.parse().expect("an id"), Timestamp::now());
    Caller { user, role: Role::Guest, name: None, token_id: None, issued_at: None, expires_at }
}

async fn publish(history: &dyn History) -> Result<shared::event::RoomPosition, BrokerError> {
    let room: RoomName = "lobby".parse().expect("a room");
    history.publish(&room, KEEP, TraceId(1), LiveBody::from_trusted(Bytes::from_static(b"{\"a\":1"))).await
}

fn lobby() -> Channel {
    "room:lobby".parse().expect("a channel")
}

fn hello() -> Envelope {
    Envelope {
        channel: lobby(),
        committed_at: Timestamp::from_micros(0),
        trace: TraceId(1),
        content: content(Bytes::from_static(b"hello")),
    }
}

fn content(body: Bytes) -> Content {
    Content::Live { body: LiveBody::from_trusted(body), position: None }
}

/// In a cluster the server that had the list of a gateway may be another one than those that have the people on it.
#[tokio::test(flavor = "multi_thread")]
async fn whom_a_dead_gateway_had_is_taken_back_though_its_lists_were_lost() {
    let redis = Redis::standalone().await.expect("a redis");
    let Linked { mut link, presence, .. } = open_at(&redis).await;
    let alice: UserId = "alice".parse().expect("an id");
    link.broker.subscribe(&[Channel::Presence(alice.clone())]).await.expect("a subscription");
    let lease = presence.begin(Duration::from_secs(600)).await.expect("a lease");
    presence.put(&lease, None, &[(alice.clone(), Availability::Online)]).await.expect("written");
    assert!(matches!(next(&mut link).await, Delivery::Envelope(_)));
    for lost in ["*lease:*", "*people:*", "*gateways"] {
        let key = redis.cli(0, &["--raw", "KEYS", lost]).await.expect("a key");
        redis.cli(0, &["DEL", key.trim()]).await.expect("deleted");
    }
    let sweeper = PodId::new();
    let sweep = async || presence.sweep(sweeper, Duration::from_secs(10), 100).await.expect("swept");
    let state = async || presence.read(std::slice::from_ref(&alice)).await.expect("a reading")[0].state;
    assert_eq!((state().await, sweep().await), (Availability::Online, 0), "its gateway may begin another lease");
    let taken_back = async {
        while sweep().await == 0 {
            assert_eq!(state().await, Availability::Online);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken_back).await.expect("in time");
    let Delivery::Envelope(Envelope { content: Content::Sign(body), .. }) = next(&mut link).await else {
        panic!("that she is gone is told");
    };
    assert_eq!(Status::heard(&body).map(|status| status.state), Some(Availability::Offline));
    assert_eq!(state().await, Availability::Offline);
}

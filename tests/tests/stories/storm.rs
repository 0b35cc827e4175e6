//! Everybody comes back at once.

use fleet::client::Kind;
use fleet::eventually::until;
use fleet::fleet::{Fleet, Shape};
use fleet::place::Place as _;
use fleet::servers::carillon::Pod;

use crate::CAUGHT_UP;

/// Clients that come in at the same time.
const MOST: usize = 8;
/// Words that are said meanwhile, at most: fewer than a window holds.
const WORDS: usize = 40;
/// People, of whom each has two devices.
const PEOPLE: usize = 60;

const ASKED: &str = r#"carillon_http_requests_total{method="POST",route="/internal/v1/authorise",status="200"}"#;

/// What pods have counted under a name, all together.
async fn counted(pods: &[Pod], name: &str) -> f64 {
    let mut sum = 0.0;
    for pod in pods {
        sum += pod.measures(name).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clients_are_all_cut_at_once_lets_them_in_a_few_at_a_time_and_nobody_misses_a_word() {
    let environment = vec![("CARILLON_GATEWAY__MAX_ARRIVALS", MOST.to_string())];
    let fleet = Fleet::start(Shape { gateway: 1, environment, ..Shape::default() }).await;
    let people: Vec<_> = (0..PEOPLE).map(|number| fleet.user(&format!("user-{number}"))).collect();
    let devices = people.iter().flat_map(|user| ["phone", "laptop"].map(|name| user.device(name).start()));
    let devices: Vec<_> = devices.collect();
    let conversation = people[0].starts(Kind::Group, &people[1..].iter().collect::<Vec<_>>()).await;
    for device in &devices {
        device.is_connected().await;
    }
    let mut said = vec![people[0].says(&conversation, "before").await];
    conversation.is_shown_on(&devices.iter().collect::<Vec<_>>(), &said, CAUGHT_UP).await;

    let gateway = &fleet.gateway;
    let asked = counted(&fleet.api, ASKED).await;
    let arrived = counted(gateway, "carillon_gateway_arrival_seconds_count").await;
    let windows = counted(gateway, "carillon_gateway_window_pages_total").await;
    let pages = counted(gateway, "carillon_gateway_catch_up_pages_total").await;
    fleet.link("nginx", "gateway-1").cut();
    until(CAUGHT_UP, "every device has noticed", || {
        devices.iter().all(|device| device.connections() > 1 || !device.is_linked())
    })
    .await;
    let mut highest: f64 = 0.0;
    while devices.iter().any(|device| !device.is_linked()) {
        highest = highest.max(counted(gateway, "carillon_gateway_arrivals").await);
        if said.len() < WORDS {
            said.push(people[0].says(&conversation, &format!("meanwhile {}", said.len())).await);
        }
    }
    said.push(people[0].says(&conversation, "after").await);
    conversation.is_shown_on(&devices.iter().collect::<Vec<_>>(), &said, CAUGHT_UP).await;

    let asked = counted(&fleet.api, ASKED).await - asked;
    let arrived = counted(gateway, "carillon_gateway_arrival_seconds_count").await - arrived;
    let windows = counted(gateway, "carillon_gateway_window_pages_total").await - windows;
    let pages = counted(gateway, "carillon_gateway_catch_up_pages_total").await - pages;
    let refused = counted(gateway, "carillon_gateway_arrivals_refused_total").await;
    let figures = format!(
        "{arrived} arrivals, {refused} told to come back, {asked} questions, {windows} windows, {pages} pages, {highest} at once"
    );
    assert!(arrived >= devices.len() as f64, "everybody came back: {figures}");
    assert!(highest <= MOST as f64, "never more than may: {figures}");
    assert!(refused > 0.0, "a hundred and twenty came at once: {figures}");
    assert!(asked < arrived, "the api was asked in batches: {figures}");
    assert!(pages * 10.0 <= windows, "the windows had what was missed: {figures}");
}

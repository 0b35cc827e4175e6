//! Everybody hears everything, whichever pod they came to and however long they were away.

use fleet::client::{Kind, Talk, User};
use fleet::eventually::eventually;
use fleet::place::Place;
use futures_util::future::join_all;

use crate::CAUGHT_UP;

told_everywhere! {
    what_one_pod_keeps_a_socket_on_another_pod_hears,
    each_device_of_a_user_gets_what_it_missed_itself,
    what_fifty_people_say_at_once_has_one_order_for_all,
    a_device_that_was_away_longer_than_any_window_gets_everything_it_missed,
    a_device_that_lost_its_cursor_starts_after_what_it_acknowledged,
}

async fn what_one_pod_keeps_a_socket_on_another_pod_hears(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let near = place.at_gateway(&bob, 0).device("phone").connect().await;
    let far = place.at_gateway(&bob, 1).device("laptop").connect().await;
    let own = alice.device("phone").connect().await;

    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let hello = alice.says(&conversation, "hello").await;
    let answer = bob.says(&conversation, "hello yourself").await;

    for device in [&near, &far, &own] {
        device.shows(&conversation, &["hello", "hello yourself"]).await;
    }
    conversation.is_shown_on(&[&near, &far, &own], &[hello, answer], CAUGHT_UP).await;
}

async fn each_device_of_a_user_gets_what_it_missed_itself(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let (phone, laptop) = (bob.device("phone").connect().await, bob.device("laptop").connect().await);
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;

    let mut said = vec![alice.says(&conversation, "one").await];
    phone.shows(&conversation, &["one"]).await;
    laptop.shows(&conversation, &["one"]).await;
    phone.goes_away().await;
    said.push(alice.says(&conversation, "two").await);
    laptop.shows(&conversation, &["one", "two"]).await;
    laptop.goes_away().await;
    said.push(alice.says(&conversation, "three").await);
    phone.comes_back().await;
    laptop.comes_back().await;

    phone.shows(&conversation, &["one", "two", "three"]).await;
    laptop.shows(&conversation, &["one", "two", "three"]).await;
    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
}

async fn what_fifty_people_say_at_once_has_one_order_for_all(place: &impl Place) {
    let people: Vec<User> = (1..=50).map(|number| place.user(&format!("person-{number}"))).collect();
    let others: Vec<&User> = people[1..].iter().collect();
    let mut devices = Vec::new();
    for (number, person) in people.iter().take(4).enumerate() {
        devices.push(place.at_gateway(person, number % 2).device("phone").connect().await);
    }
    let conversation = people[0].starts(Kind::Group, &others).await;

    let mut said = Vec::new();
    for round in 1..=3 {
        let at_once = people.iter().map(async |person| person.says(&conversation, &format!("round {round}")).await);
        said.extend(join_all(at_once).await);
    }

    let devices: Vec<_> = devices.iter().collect();
    conversation.is_shown_on(&devices, &said, CAUGHT_UP).await;
}

async fn a_device_that_was_away_longer_than_any_window_gets_everything_it_missed(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let first = alice.says(&conversation, "see you").await;
    phone.shows(&conversation, &["see you"]).await;

    phone.goes_away().await;
    // A window keeps 64 entries, so most of this is only in the database.
    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    talk.goes_on_for(200).await;
    let mut said = talk.ends().await;
    said.insert(0, first);
    phone.comes_back().await;

    conversation.is_shown_on(&[&phone], &said, CAUGHT_UP).await;
    assert_eq!(phone.record().resyncs, 0, "a cursor recovers completely");
}

async fn a_device_that_lost_its_cursor_starts_after_what_it_acknowledged(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    alice.says(&conversation, "shown and acknowledged").await;
    phone.shows(&conversation, &["shown and acknowledged"]).await;
    phone.acknowledges().await;
    drop(phone);
    alice.says(&conversation, "said while away").await;

    // A gateway passes acknowledgements on within two seconds; until then a device may be told again.
    let starts_after_it = async || {
        let reinstalled = bob.device("phone").connect().await;
        let away = |frame: &serde_json::Value| frame["data"]["message_text"] == "said while away";
        reinstalled.hears("what was said while away", away).await;
        let shown = reinstalled.record().messages(&conversation.id).len();
        if shown == 1 { Ok(()) } else { Err(format!("{shown} messages are shown")) }
    };
    eventually(CAUGHT_UP, starts_after_it).await;
}

//! `/internal/v1`: what gateways ask. It has a listener of its own that no proxy routes to.
//!
//! Every question needs the fleet's secret, has a limit and the deadline of any request. A gateway in the same process calls
//! the same router without a socket between.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use shared::access::Caller;
use shared::ids::{ConversationId, RoomName, UserId};
use shared::limits::Deed;
use shared::protocol::ErrorCode;
use shared::upstream::{
    Acknowledgement, Arrival, CALLER_HEADER, DifferencesAfter, Heads, HeadsOf, MOST_WATCHED, Question, RecentHeads,
    RevokedAfter, RevokedPage, SECRET_HEADER, Verdict,
};
use subtle::ConstantTimeEq;

use crate::drafts;
use crate::error::Problem;
use crate::fields::{Fields, read};
use crate::model::{Message, Privacy, ReadMarker};
use crate::request::{Name, Once, surround};
use crate::router::{no_method, no_route};
use crate::routes::Made;
use crate::state::App;

/// Channels, feeds, questions or acknowledgements in one request.
const MOST: usize = 1_000;
/// Bytes of the largest question: a thousand arrivals with a cursor each fit, or a thousand who watch a hundred people each.
const QUESTION: usize = 16 * 1024 * 1024;
/// Bytes of the largest page of differences, whatever a gateway asks for.
const PAGE: usize = 1024 * 1024;

/// The routes of the internal listener.
pub fn internal_router(app: App) -> Router {
    let routes = Router::new()
        .route("/internal/v1/heads", get(recent_heads).post(heads_of))
        .route("/internal/v1/differences", post(differences))
        .route("/internal/v1/revocations", post(revoked_after))
        .route("/internal/v1/authorise", post(authorise))
        .route("/internal/v1/send", post(send))
        .route("/internal/v1/read", post(read_up_to))
        .route("/internal/v1/acks", post(acks));
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(app.clone(), only_the_fleet))
        .layer(from_fn(surround))
        .with_state(app)
}

/// Lets nobody in who does not know the fleet's secret. Comparing takes the same time however much of it is right.
async fn only_the_fleet(State(app): State<App>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(SECRET_HEADER).map_or(&b""[..], |value| value.as_bytes());
    let secret = app.internal_secret.reveal().as_bytes();
    if secret.is_empty() || !bool::from(shown.ct_eq(secret)) {
        return Problem::new(ErrorCode::Unauthorized, "only pods of this fleet are answered here").into_response();
    }
    next.run(request).await
}

async fn recent_heads(State(app): State<App>) -> Result<Json<RecentHeads>, Problem> {
    let heads = app.recent_heads().await?.as_ref().clone();
    Ok(Json(RecentHeads { heads, announcing: app.publisher.is_heard() }))
}

async fn heads_of(State(app): State<App>, Asked(HeadsOf { channels }): Asked<HeadsOf>) -> Result<Json<Heads>, Problem> {
    limit("channels", channels.len())?;
    Ok(Json(app.store.heads(&channels).await?))
}

async fn differences(
    State(app): State<App>,
    Asked(after): Asked<DifferencesAfter>,
) -> Result<impl IntoResponse, Problem> {
    limit("after", after.after.len())?;
    let after = DifferencesAfter { page_bytes: after.page_bytes.min(PAGE), ..after };
    let differences = app.store.differences(&after).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], Body::from(differences.encode())))
}

async fn revoked_after(
    State(app): State<App>,
    Asked(after): Asked<RevokedAfter>,
) -> Result<Json<RevokedPage>, Problem> {
    Ok(Json(app.store.revoked_after(&after).await?))
}

async fn authorise(
    State(app): State<App>,
    Asked(questions): Asked<Vec<Question>>,
) -> Result<Json<Vec<Verdict>>, Problem> {
    limit("questions", questions.len())?;
    let arrivals: Vec<Arrival> = questions.iter().filter_map(arrival).cloned().collect();
    let mut arrived = app.store.arrive(&arrivals).await?.into_iter();
    let mut watches = watches(&app, &questions).await?.into_iter();
    let mut joins = HashMap::new();
    let mut verdicts = Vec::with_capacity(questions.len());
    for question in &questions {
        let verdict = match question {
            Question::Arrive(_) => arrived.next().ok_or_else(|| Problem::internal("an arrival was not judged"))?,
            Question::Watch { .. } => watches.next().ok_or_else(|| Problem::internal("a watch was not judged"))?,
            Question::Join { caller, room } => {
                let asked = (caller.user.clone(), caller.role, room.clone());
                match joins.get(&asked) {
                    Some(verdict) => Verdict::clone(verdict),
                    None => joins.entry(asked).insert_entry(join(&app, caller, room).await?).get().clone(),
                }
            }
        };
        verdicts.push(verdict);
    }
    Ok(Json(verdicts))
}

const fn arrival(question: &Question) -> Option<&Arrival> {
    match question {
        Question::Arrive(arrival) => Some(arrival),
        Question::Join { .. } | Question::Watch { .. } => None,
    }
}

/// Judges every question of that kind at once, in order.
async fn watches(app: &App, questions: &[Question]) -> Result<Vec<Verdict>, Problem> {
    let asked = questions.iter().filter_map(|question| match question {
        Question::Watch { caller, people } => Some((caller, people)),
        Question::Arrive(_) | Question::Join { .. } => None,
    });
    let asked: Vec<_> = asked.collect();
    if asked.iter().any(|(_, people)| people.len() > MOST_WATCHED) {
        return Err(Problem::new(ErrorCode::TooLarge, format!("at most {MOST_WATCHED} people in one question")));
    }
    let pairs: Vec<_> =
        asked.iter().flat_map(|(caller, people)| people.iter().map(move |one| (*caller, one))).collect();
    let mut sees = app.store.sees_presence(&pairs).await?.into_iter();
    let mut visible = |people: &[UserId]| {
        let seen = people.iter().zip(&mut sees).filter(|(_, sees)| *sees);
        Verdict::Visible { people: seen.map(|(person, _)| person.clone()).collect() }
    };
    Ok(asked.iter().map(|(_, people)| visible(people)).collect())
}

/// Judges `conversation:<id>`; any other room is for the gateways' own policies. One that does not exist is answered like
/// one that is not the caller's.
async fn join(app: &App, caller: &Caller, room: &RoomName) -> Result<Verdict, Problem> {
    let Some(id) = room.as_str().strip_prefix("conversation:") else {
        return Ok(Verdict::Denied { code: ErrorCode::Forbidden });
    };
    let shows = match id.parse::<ConversationId>() {
        Ok(id) => app.store.participates(caller, id).await?,
        Err(_) => None,
    };
    Ok(match shows {
        Some(Privacy { signs: true, .. }) => Verdict::Allowed,
        Some(Privacy { signs: false, .. }) => Verdict::AllowedUnseen,
        None => Verdict::Denied { code: ErrorCode::NotAParticipant },
    })
}

/// Sends a message for a socket: the same draft, the same publisher as over REST.
async fn send(
    State(app): State<App>,
    SpokenFor(caller): SpokenFor,
    name: Name,
    body: Fields,
) -> Result<Made<Message>, Problem> {
    let draft = drafts::message(body, Once(None), name.trace)?;
    app.limits.check(Deed::Send, &caller).await?;
    Ok(Made(app.publisher.publish(&caller, &draft).await?))
}

/// Marks a conversation as read for a socket: the same draft, the same publisher as over REST.
async fn read_up_to(
    State(app): State<App>,
    SpokenFor(caller): SpokenFor,
    name: Name,
    mut body: Fields,
) -> Result<Json<ReadMarker>, Problem> {
    let conversation_id = body.required("conversation_id");
    let draft = drafts::read_up_to(body, conversation_id, name.trace)?;
    Ok(Json(app.publisher.mark(&caller, &draft).await?))
}

async fn acks(
    State(app): State<App>,
    Asked(acknowledgements): Asked<Vec<Acknowledgement>>,
) -> Result<StatusCode, Problem> {
    limit("acknowledgements", acknowledgements.len())?;
    app.publisher.acknowledge(&acknowledgements).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn limit(what: &str, count: usize) -> Result<(), Problem> {
    if count <= MOST {
        Ok(())
    } else {
        Err(Problem::new(ErrorCode::TooLarge, format!("at most {MOST} {what} at once")))
    }
}

/// The user a gateway speaks for. It has verified the token; the secret vouches for the gateway.
struct SpokenFor(Caller);

impl FromRequestParts<App> for SpokenFor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        caller_of(&parts.headers)
            .map(Self)
            .ok_or_else(|| Problem::field(CALLER_HEADER, "is missing or names no verified caller"))
    }
}

fn caller_of(headers: &HeaderMap) -> Option<Caller> {
    serde_json::from_slice(headers.get(CALLER_HEADER)?.as_bytes()).ok()
}

/// A question as JSON.
struct Asked<T>(T);

impl<T: DeserializeOwned> FromRequest<App> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let body = read(request, QUESTION).await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::new(ErrorCode::BadRequest, format!("not such a question: {error}")))
    }
}

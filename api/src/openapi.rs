//! The description of the REST interface in OpenAPI 3.1: what the routes say of themselves, and what holds for all of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use shared::protocol::ErrorCode;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
    SecurityRequirement,
};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};

use crate::error::{FieldError, ProblemDocument};

/// The name of the way to show a token.
const BEARER: &str = "bearer";

/// What every creating request may bring along.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only describes the header")]
pub struct Creating {
    /// The same request with the same key happens once; the second answer is the first one's, with 200. 1 to 128
    /// characters of visible ASCII.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 128)]
    idempotency_key: Option<String>,
}

/// The problems that every route can answer with.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        // A 410 and what only sockets hear is said where it can happen.
        let elsewhere = [ErrorCode::UnknownAction, ErrorCode::ResyncRequired];
        for code in ErrorCode::ALL.into_iter().filter(|code| !elsewhere.contains(code)) {
            codes.entry(code.status()).or_default().push(code.as_str());
        }
        let response = |codes: Vec<&str>| {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let description = format!("`{}`", codes.join("`, `"));
            ResponseBuilder::new().description(description).content("application/problem+json", content).build()
        };
        codes.into_iter().map(|(status, codes)| (status.to_string(), response(codes).into())).collect()
    }
}

/// The description without its routes.
pub(crate) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Carillon")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Conversations and messages, kept once and shown on every device, in order. Sockets are described in \
             /asyncapi.json. Errors are RFC 9457 problems; `code` is what programs decide by.",
        ))
        .build();
    let mut components = Components::new();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    components.schemas.insert(ProblemDocument::name().into_owned(), ProblemDocument::schema());
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]))
        .build()
}

/// The description as JSON, with the codes a problem can have and what each advises, and with what holds for all requests.
pub(crate) fn finish(description: OpenApi) -> Value {
    let mut description = serde_json::to_value(description).expect("a description is JSON");
    let code = &mut description["components"]["schemas"]["Problem"]["properties"]["code"];
    code["enum"] = ErrorCode::ALL.map(ErrorCode::as_str).to_vec().into();
    code["x-remedies"] = ErrorCode::ALL.into_iter().map(|code| (code.as_str(), code.remedy())).collect();
    give_bounds(&mut description);
    let schemas = description["components"]["schemas"].clone();
    let paths = description["paths"].as_object_mut().expect("paths are an object");
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(|path| path.values_mut()) {
        describe_body(operation, &schemas);
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            let (name, schema) = (parameter["name"].clone(), &mut parameter["schema"]);
            if name == "limit" {
                *schema = LIMIT.clone();
            } else if (name == "id" || name == "user_id") && schema.get("format").is_none() {
                *schema = USER_ID.clone();
            }
        }
    }
    description
}

/// Who is named in a path; what else is named there by `id` has a UUID.
static USER_ID: LazyLock<Value> = LazyLock::new(|| json!({ "type": "string", "pattern": "^[A-Za-z0-9_.@-]{1,128}$" }));

/// How many items a page has: what [`Fields::limit`](crate::fields::Fields::limit) takes, wherever it is asked for.
static LIMIT: LazyLock<Value> =
    LazyLock::new(|| json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 100 }));

/// Says how large a number of 32 bits without a sign may be. The format it is described with has one, and ends half way.
fn give_bounds(schema: &mut Value) {
    if schema["format"] == "int32" && schema["minimum"] == 0 && schema.get("maximum").is_none() {
        schema["format"] = "int64".into();
        schema["maximum"] = u32::MAX.into();
    }
    match schema {
        Value::Object(parts) => parts.values_mut().for_each(give_bounds),
        Value::Array(parts) => parts.iter_mut().for_each(give_bounds),
        _ => {}
    }
}

/// Says what holds for every JSON body: it may be left out where nothing must be said, and another media type is refused.
fn describe_body(operation: &mut Value, schemas: &Value) {
    let Some(name) = operation
        .pointer("/requestBody/content/application~1json/schema/$ref")
        .and_then(|reference| reference.as_str()?.rsplit('/').next())
    else {
        return;
    };
    operation["requestBody"]["required"] = schemas[name].get("required").is_some().into();
    let responses = &mut operation["responses"];
    responses["415"] = responses["400"].clone();
    responses["415"]["description"] = "`unsupported`: the body is not JSON".into();
}

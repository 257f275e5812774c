//! The control interface: `/_sandbox/...` (documented in `integration/README.md`).

use hyper::Method;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::aws::account::ACCOUNT;
use crate::aws::account::REGION;
use crate::aws::account::Role;
use crate::aws::account::role_arn;
use crate::aws::policy::Policy;
use crate::clock;
use crate::faults::Faults;
use crate::http::Answer;
use crate::oidc::IdTokenRequest;
use crate::world::World;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleDocument {
    trust_policy: Value,
    permission_policy: Value,
    max_session_duration: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessKeyRequest {
    user: String,
    policy: Value,
}

/// Answers one control request; `path` comes without `/_sandbox/`.
pub(crate) fn answer(world: &World, method: &Method, path: &str, body: Value) -> Answer {
    let role = path
        .strip_prefix("roles/")
        .filter(|_| method == Method::PUT);
    let answer = match (method, path) {
        (_, _) if let Some(name) = role => put_role(world, name, body),
        (&Method::GET, "state") => Ok(state(world)),
        (&Method::POST, "id-token") => id_token(world, body),
        (&Method::GET, "faults") => Ok(json!(world.faults())),
        (&Method::POST, "faults") => change_faults(world, &body),
        (&Method::DELETE, "faults") => {
            world.change_faults(|faults| *faults = Faults::default());
            Ok(json!(world.faults()))
        }
        (&Method::POST, "expire-credentials") => {
            Ok(json!({ "expired": world.account.expire_keys(clock::now()) }))
        }
        (&Method::POST, "cut") => {
            world.cut();
            Ok(json!({}))
        }
        (&Method::GET, "verdicts") => Ok(json!(world.verdicts())),
        (&Method::GET, "sts-calls") => Ok(json!(world.sts_calls())),
        (&Method::DELETE, "records") => {
            world.forget_records();
            Ok(json!({}))
        }
        (&Method::POST, "access-keys") => access_key(world, body),
        _ => {
            return Answer::error(
                StatusCode::NOT_FOUND,
                &format!("the sandbox has no {method} /_sandbox/{path}"),
            );
        }
    };
    match answer {
        Ok(value) => Answer::json(&value),
        Err(error) => Answer::error(StatusCode::BAD_REQUEST, &format!("{error:#}")),
    }
}

fn state(world: &World) -> Value {
    let roles: Vec<Value> = world
        .account
        .roles()
        .iter()
        .map(|role| {
            json!({
                "arn": role_arn(&role.name), "max_session_duration": role.max_session_seconds,
                "trust_policy": role.trust, "permission_policy": role.permissions,
            })
        })
        .collect();
    json!({
        "account": ACCOUNT, "region": REGION, "issuer": world.account.issuer.url(),
        "provider": { "arn": world.account.provider_arn(), "client_ids": world.account.client_ids },
        "roles": roles, "faults": world.faults(),
    })
}

fn id_token(world: &World, body: Value) -> anyhow::Result<Value> {
    let request: IdTokenRequest = serde_json::from_value(body)?;
    Ok(json!({ "id_token": world.account.issuer.id_token(&request, clock::now())? }))
}

/// The body is laid over the faults as they are; `null` clears a field.
fn change_faults(world: &World, patch: &Value) -> anyhow::Result<Value> {
    world.change_faults(|faults| {
        let mut value = serde_json::to_value(&*faults)?;
        lay_over(&mut value, patch);
        let wanted: Faults = serde_json::from_value(value)?;
        wanted.check()?;
        *faults = wanted;
        Ok(json!(faults))
    })
}

fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(under.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

fn put_role(world: &World, name: &str, body: Value) -> anyhow::Result<Value> {
    let document: RoleDocument = serde_json::from_value(body)?;
    let mut role = Role::new(name, document.trust_policy, document.permission_policy)?;
    if let Some(seconds) = document.max_session_duration {
        anyhow::ensure!(
            (3_600..=43_200).contains(&seconds),
            "max_session_duration is 3600 to 43200 seconds"
        );
        role.max_session_seconds = seconds;
    }
    world.account.put_role(role);
    Ok(json!({ "arn": role_arn(name) }))
}

fn access_key(world: &World, body: Value) -> anyhow::Result<Value> {
    let request: AccessKeyRequest = serde_json::from_value(body)?;
    let key = world
        .account
        .create_access_key(&request.user, Policy::from_value(request.policy)?);
    Ok(json!({ "AccessKeyId": key.id, "SecretAccessKey": key.secret }))
}

//! The emulated AWS account: who exists, what they may do, and which keys are abroad.

use std::collections::BTreeMap;
use std::collections::HashMap;

use anyhow::Result;
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::json;

use crate::aws::policy::Caller;
use crate::aws::policy::Effect;
use crate::aws::policy::Policy;
use crate::aws::policy::Request;
use crate::oidc::Issuer;
use crate::unique;

/// The account's id.
pub const ACCOUNT: &str = "123456789012";
/// The region everything lives in.
pub const REGION: &str = "eu-west-1";

/// One AWS account with one OIDC provider.
#[derive(Debug)]
pub struct Account {
    /// The identity provider it trusts.
    pub issuer: Issuer,
    /// The provider's client-id list: the audiences it accepts.
    pub client_ids: Vec<String>,
    state: Mutex<State>,
}

/// An IAM role.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Who may assume it.
    pub trust: Policy,
    /// What it may do.
    pub permissions: Policy,
    /// `MaxSessionDuration`, seconds.
    pub max_session_seconds: u32,
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A session of a role.
    Session {
        /// The role.
        role: String,
        /// `RoleSessionName`.
        session: String,
    },
    /// An IAM user.
    User(String),
}

/// An access key, and what it proves.
#[derive(Debug, Clone)]
pub struct Key {
    /// `ASIA...` or `AKIA...`.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// Present for temporary keys.
    pub session_token: Option<String>,
    /// Unix seconds; none: until deleted.
    pub expires: Option<i64>,
    /// Whose it is.
    pub principal: Principal,
    /// Session policy: the key may do what this *and* the principal's own policy allow.
    pub session_policy: Option<Policy>,
}

#[derive(Debug, Default)]
struct State {
    roles: BTreeMap<String, Role>,
    users: BTreeMap<String, Policy>,
    keys: HashMap<String, Key>,
}

impl Principal {
    /// As `GetCallerIdentity` and access-denied messages name it.
    pub fn arn(&self) -> String {
        match self {
            Self::Session { role, session } => {
                format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}")
            }
            Self::User(name) => format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
        }
    }

    /// The ARN a trust policy names: for a session, its role's.
    pub fn trusted_arn(&self) -> String {
        match self {
            Self::Session { role, .. } => role_arn(role),
            Self::User(_) => self.arn(),
        }
    }
}

impl Role {
    /// From the documents as IAM writes them.
    pub fn new(name: &str, trust: Value, permissions: Value) -> Result<Self> {
        let (trust, permissions) = (Policy::from_value(trust)?, Policy::from_value(permissions)?);
        Ok(Self {
            name: name.to_owned(),
            trust,
            permissions,
            max_session_seconds: 3_600,
        })
    }
}

/// `arn:aws:iam::123456789012:role/NAME`
pub fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

impl Account {
    /// An account with the roles of `default_roles`.
    pub fn new(issuer: Issuer) -> Result<Self> {
        let client_ids = vec![issuer.url().to_owned()];
        let account = Self {
            issuer,
            client_ids,
            state: Mutex::default(),
        };
        for role in default_roles(
            &account.provider_arn(),
            account.issuer.host(),
            &account.client_ids,
        )? {
            account.put_role(role);
        }
        Ok(account)
    }

    /// The OIDC provider's ARN.
    pub fn provider_arn(&self) -> String {
        format!(
            "arn:aws:iam::{ACCOUNT}:oidc-provider/{}",
            self.issuer.host()
        )
    }

    /// Creates or replaces a role. Keys already issued obey the new permissions at once.
    pub fn put_role(&self, role: Role) {
        self.state.lock().roles.insert(role.name.clone(), role);
    }

    /// A role by name.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.state.lock().roles.get(name).cloned()
    }

    /// All roles, by name.
    pub fn roles(&self) -> Vec<Role> {
        self.state.lock().roles.values().cloned().collect()
    }

    /// Creates or replaces an IAM user and gives it a long-lived key.
    pub fn create_access_key(&self, user: &str, permissions: Policy) -> Key {
        let key = Key {
            id: unique::aws_id("AKIA"),
            secret: unique::base64_text(40),
            session_token: None,
            expires: None,
            principal: Principal::User(user.to_owned()),
            session_policy: None,
        };
        let mut state = self.state.lock();
        state.users.insert(user.to_owned(), permissions);
        state.keys.insert(key.id.clone(), key.clone());
        key
    }

    /// Remembers a key that was handed out.
    pub fn remember(&self, key: Key) {
        self.state.lock().keys.insert(key.id.clone(), key);
    }

    /// A key by its id, expired or not.
    pub fn key(&self, id: &str) -> Option<Key> {
        self.state.lock().keys.get(id).cloned()
    }

    /// Every key there ever was: for tests that look for them where they must not be.
    pub fn keys(&self) -> Vec<Key> {
        self.state.lock().keys.values().cloned().collect()
    }

    /// Ends every temporary key at `now`; returns how many there were.
    pub fn expire_keys(&self, now: i64) -> usize {
        let mut state = self.state.lock();
        let live = state
            .keys
            .values_mut()
            .filter(|key| key.expires.is_some_and(|at| at > now));
        live.map(|key| key.expires = Some(now)).count()
    }

    /// Whether `key` may do `action` on `resource`: its principal's policy and its session policy both say so.
    pub fn allows(&self, key: &Key, action: &str, resource: &str) -> bool {
        self.identity_effect(key, action, resource) == Effect::Allow
            && session_allows(key, action, resource)
    }

    /// What the principal's own policy says, the session policy aside.
    pub fn identity_effect(&self, key: &Key, action: &str, resource: &str) -> Effect {
        let state = self.state.lock();
        let policy = match &key.principal {
            Principal::Session { role, .. } => state.roles.get(role).map(|role| &role.permissions),
            Principal::User(name) => state.users.get(name),
        };
        policy.map_or(Effect::Silent, |policy| ask(policy, action, resource))
    }
}

/// Whether the session policy, if there is one, lets the key do it.
pub fn session_allows(key: &Key, action: &str, resource: &str) -> bool {
    key.session_policy
        .as_ref()
        .is_none_or(|policy| ask(policy, action, resource) == Effect::Allow)
}

fn ask(policy: &Policy, action: &str, resource: &str) -> Effect {
    let context = BTreeMap::new();
    policy.evaluate(&Request {
        caller: &Caller::Own,
        action,
        resource: Some(resource),
        context: &context,
    })
}

/// `ci-tests` (jobs of `acme/shop`), `ci-chained` (assumed from `ci-tests`), `ci-no-database` (trusts the
/// job but may not connect) and `ci-other-project` (trusts somebody else).
fn default_roles(provider: &str, host: &str, audiences: &[String]) -> Result<Vec<Role>> {
    let trust = |project: &str| {
        json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": provider },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": { format!("{host}:aud"): audiences },
                "StringLike": { format!("{host}:sub"): format!("project_path:{project}:ref_type:*:ref:*") },
            },
        }]})
    };
    let chained = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "AWS": role_arn("ci-tests") }, "Action": "sts:AssumeRole",
    }]});
    let connect = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "rds-db:connect",
          "Resource": format!("arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:*/iam_app") },
    ]});
    let nothing = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "rds:DescribeDBInstances", "Resource": "*" },
    ]});
    Ok(vec![
        Role::new("ci-tests", trust("acme/shop"), connect.clone())?,
        Role::new("ci-chained", chained, connect.clone())?,
        Role::new("ci-no-database", trust("acme/shop"), nothing)?,
        Role::new("ci-other-project", trust("acme/payroll"), connect)?,
    ])
}

//! The Security Token Service: its Query API, its judgement, its words.

use std::collections::BTreeMap;

use crate::aws::account::ACCOUNT;
use crate::aws::account::Account;
use crate::aws::account::Key;
use crate::aws::account::Principal;
use crate::aws::account::Role;
use crate::aws::account::session_allows;
use crate::aws::asked;
use crate::aws::asked::Asked;
use crate::aws::asked::SESSION_POLICY_CHARS_MAX;
use crate::aws::policy::Caller;
use crate::aws::policy::Effect;
use crate::aws::policy::Request as PolicyRequest;
use crate::aws::signed;
use crate::aws::web_identity;
use crate::aws::xml;
use crate::clock;

/// Session tokens are opaque and long; AWS's own for a web identity run to about this many characters.
pub const SESSION_TOKEN_CHARS: usize = 1_100;
/// Sessions of roles assumed by other roles last at most this long (IAM guide, role chaining).
const CHAINED_SECONDS_MAX: u32 = 3_600;

/// One call, as it arrived.
#[derive(Debug)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: String,
    /// Decoded query of the URL.
    pub query: Vec<(String, String)>,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; for `POST` a form.
    pub body: Vec<u8>,
    /// Query and form together.
    pub parameters: BTreeMap<String, String>,
}

/// What STS says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StsError {
    /// HTTP status.
    pub status: u16,
    /// `AccessDenied`, `InvalidIdentityToken`...
    pub code: String,
    /// AWS's sentence.
    pub message: String,
}

impl StsError {
    /// Any error the caller is to blame for, status 400.
    pub fn sender(code: &str, message: &str) -> Self {
        Self {
            status: 400,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// As [`Self::sender`], status 403.
    pub fn forbidden(code: &str, message: &str) -> Self {
        Self {
            status: 403,
            ..Self::sender(code, message)
        }
    }

    /// The ID token is not to be believed.
    pub fn invalid_identity(message: &str) -> Self {
        Self::sender("InvalidIdentityToken", message)
    }

    /// STS cannot read the issuer's JWKS, or the key is not in it.
    pub fn no_verification_key() -> Self {
        Self::invalid_identity(
            "Couldn't retrieve verification key from your identity provider, please reference \
             AssumeRoleWithWebIdentity documentation for requirements",
        )
    }

    /// The ID token is over.
    pub fn expired(message: &str) -> Self {
        Self::sender("ExpiredTokenException", message)
    }

    /// The trust policy does not speak of this token, or there is no such role.
    pub fn not_trusted() -> Self {
        Self::forbidden(
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        )
    }

    /// The document AWS would send.
    pub fn to_xml(&self) -> String {
        xml::error(
            if self.status >= 500 {
                "Receiver"
            } else {
                "Sender"
            },
            &self.code,
            &self.message,
        )
    }
}

/// Answers one call at `now` with an XML document.
pub fn answer(
    account: &Account,
    call: &Call,
    token_chars: usize,
    now: i64,
) -> Result<String, StsError> {
    match call.parameters.get("Action").map(String::as_str) {
        Some("AssumeRoleWithWebIdentity") => {
            assume_with_web_identity(account, call, token_chars, now)
        }
        Some("AssumeRole") => assume(account, call, token_chars, now),
        Some("GetCallerIdentity") => caller_identity(account, call, now),
        Some(other) => Err(StsError::sender(
            "InvalidAction",
            &format!("Could not find operation {other} for version 2011-06-15"),
        )),
        None => Err(StsError::sender("MissingAction", "Missing Action")),
    }
}

fn assume_with_web_identity(
    account: &Account,
    call: &Call,
    chars: usize,
    now: i64,
) -> Result<String, StsError> {
    let asked = Asked::read(call)?;
    let token = asked::required(call, "WebIdentityToken")?;
    let identity = web_identity::judge(account, token, now)?;
    let role = asked.role(account).ok_or_else(StsError::not_trusted)?;
    let caller = Caller::Federated(account.provider_arn());
    if trusts(
        &role,
        &caller,
        "sts:AssumeRoleWithWebIdentity",
        &identity.context,
    ) != Effect::Allow
    {
        return Err(StsError::not_trusted());
    }
    let key = asked.issue(account, &role, chars, now)?;
    let provider = account.provider_arn();
    let mut result = vec![
        xml::element("SubjectFromWebIdentityToken", &identity.subject),
        xml::element("Audience", &identity.audience),
        xml::element("Provider", &provider),
    ];
    result.extend(credentials(&key, &asked));
    Ok(xml::response("AssumeRoleWithWebIdentity", &result))
}

fn assume(account: &Account, call: &Call, chars: usize, now: i64) -> Result<String, StsError> {
    let caller = signed::authenticate(account, call, now)?;
    let asked = Asked::read(call)?;
    let denied = || {
        let (who, action, arn) = (caller.principal.arn(), "sts:AssumeRole", &asked.role_arn);
        let message =
            format!("User: {who} is not authorized to perform: {action} on resource: {arn}");
        StsError::forbidden("AccessDenied", &message)
    };
    let role = asked.role(account).ok_or_else(denied)?;
    if !may_assume(account, &caller, &role, &asked.role_arn) {
        return Err(denied());
    }
    let chained = matches!(caller.principal, Principal::Session { .. });
    if chained && asked.seconds > CHAINED_SECONDS_MAX {
        return Err(StsError::sender(
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }
    let key = asked.issue(account, &role, chars, now)?;
    Ok(xml::response("AssumeRole", &credentials(&key, &asked)))
}

fn caller_identity(account: &Account, call: &Call, now: i64) -> Result<String, StsError> {
    let key = signed::authenticate(account, call, now)?;
    let user = match &key.principal {
        Principal::Session { role, session } => format!("{}:{session}", role_id(role)),
        Principal::User(name) => format!("AIDA{name}"),
    };
    let result = [
        xml::element("Arn", &key.principal.arn()),
        xml::element("UserId", &user),
        xml::element("Account", ACCOUNT),
    ];
    Ok(xml::response("GetCallerIdentity", &result))
}

/// Within one account: a trust policy that names the caller itself is enough; one that names the account
/// leaves it to the caller's own policy. A session policy limits either way, and a Deny anywhere is final.
fn may_assume(account: &Account, caller: &Key, role: &Role, arn: &str) -> bool {
    let action = "sts:AssumeRole";
    let own = account.identity_effect(caller, action, arn);
    let context = BTreeMap::new();
    let trust = |names: Vec<String>| trusts(role, &Caller::Aws(names), action, &context);
    let itself = trust(vec![caller.principal.arn(), caller.principal.trusted_arn()]);
    let root = trust(vec![
        format!("arn:aws:iam::{ACCOUNT}:root"),
        ACCOUNT.to_owned(),
    ]);
    if [own, itself, root].contains(&Effect::Deny) || !session_allows(caller, action, arn) {
        return false;
    }
    itself == Effect::Allow || (root == Effect::Allow && own == Effect::Allow)
}

fn trusts(
    role: &Role,
    caller: &Caller,
    action: &str,
    context: &BTreeMap<String, Vec<String>>,
) -> Effect {
    role.trust.evaluate(&PolicyRequest {
        caller,
        action,
        resource: None,
        context,
    })
}

fn credentials(key: &Key, asked: &Asked) -> Vec<String> {
    let Principal::Session { role, session } = &key.principal else {
        return Vec::new();
    };
    let mut elements = vec![
        xml::nest(
            "AssumedRoleUser",
            &[
                xml::element("AssumedRoleId", &format!("{}:{session}", role_id(role))),
                xml::element("Arn", &key.principal.arn()),
            ],
        ),
        xml::nest(
            "Credentials",
            &[
                xml::element("AccessKeyId", &key.id),
                xml::element("SecretAccessKey", &key.secret),
                xml::element(
                    "SessionToken",
                    key.session_token.as_deref().unwrap_or_default(),
                ),
                xml::element(
                    "Expiration",
                    &clock::iso_8601(key.expires.unwrap_or_default()),
                ),
            ],
        ),
    ];
    if let Some(policy) = &asked.policy {
        let percent = (policy.len() * 100).div_ceil(SESSION_POLICY_CHARS_MAX);
        elements.push(xml::element("PackedPolicySize", &percent.to_string()));
    }
    elements
}

fn role_id(role: &str) -> String {
    let letters: String = role
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    format!("AROA{letters:X<17.17}")
}

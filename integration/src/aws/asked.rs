//! The parameters of AssumeRole and AssumeRoleWithWebIdentity, held to STS's constraints.

use crate::aws::account::Account;
use crate::aws::account::Key;
use crate::aws::account::Principal;
use crate::aws::account::Role;
use crate::aws::account::role_arn;
use crate::aws::policy::Policy;
use crate::aws::sts::Call;
use crate::aws::sts::StsError;
use crate::unique;

/// `Policy` may hold this many characters (STS API reference).
pub(super) const SESSION_POLICY_CHARS_MAX: usize = 2_048;
const POLICY_PATTERN: &str =
    r"satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+";
const DURATION_SECONDS: std::ops::RangeInclusive<u32> = 900..=43_200;
const DURATION_SECONDS_DEFAULT: u32 = 3_600;

/// What both kinds of AssumeRole ask for.
pub(super) struct Asked {
    pub(super) role_arn: String,
    session: String,
    pub(super) seconds: u32,
    pub(super) policy: Option<String>,
}

impl Asked {
    pub(super) fn read(call: &Call) -> Result<Self, StsError> {
        let role_arn = required(call, "RoleArn")?.to_owned();
        let session = required(call, "RoleSessionName")?.to_owned();
        check_session_name(&session)?;
        let seconds = match call.parameters.get("DurationSeconds") {
            None => DURATION_SECONDS_DEFAULT,
            Some(text) => check_duration(text)?,
        };
        let policy = call.parameters.get("Policy").cloned();
        if let Some(policy) = &policy
            && policy.chars().count() > SESSION_POLICY_CHARS_MAX
        {
            let rule = format!("have length less than or equal to {SESSION_POLICY_CHARS_MAX}");
            return Err(constraint(policy, "policy", &rule));
        }
        let beyond = |c: char| !matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
        if let Some(policy) = policy.as_ref().filter(|policy| policy.contains(beyond)) {
            return Err(constraint(policy, "policy", POLICY_PATTERN));
        }
        Ok(Self {
            role_arn,
            session,
            seconds,
            policy,
        })
    }

    pub(super) fn role(&self, account: &Account) -> Option<Role> {
        let (_, name) = self.role_arn.split_once(":role/")?;
        account
            .role(name)
            .filter(|role| role_arn(&role.name) == self.role_arn)
    }

    pub(super) fn issue(
        &self,
        account: &Account,
        role: &Role,
        token_chars: usize,
        now: i64,
    ) -> Result<Key, StsError> {
        if self.seconds > role.max_session_seconds {
            return Err(StsError::sender(
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        let key = Key {
            id: unique::aws_id("ASIA"),
            secret: unique::base64_text(40),
            session_token: Some(unique::base64_text(token_chars)),
            expires: Some(now + i64::from(self.seconds)),
            principal: Principal::Session {
                role: role.name.clone(),
                session: self.session.clone(),
            },
            session_policy: self.policy.as_deref().map(session_policy).transpose()?,
        };
        account.remember(key.clone());
        Ok(key)
    }
}

fn session_policy(text: &str) -> Result<Policy, StsError> {
    let malformed = |message| StsError::sender("MalformedPolicyDocument", message);
    serde_json::from_str::<serde_json::Value>(text)
        .map_err(|_| malformed("This policy contains invalid Json"))?;
    Policy::parse(text).map_err(|_| malformed("Syntax errors in policy."))
}

/// A parameter that must be there.
pub(super) fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, StsError> {
    call.parameters.get(name).map(String::as_str).ok_or_else(|| {
        StsError::sender(
            "ValidationError",
            &format!(
                "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                lower_first(name),
            ),
        )
    })
}

fn check_session_name(name: &str) -> Result<(), StsError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let rule = match name.chars().count() {
        0 | 1 => "have length greater than or equal to 2",
        65.. => "have length less than or equal to 64",
        _ if name.chars().all(legal) => return Ok(()),
        _ => r"satisfy regular expression pattern: [\w+=,.@-]*",
    };
    Err(constraint(name, "roleSessionName", rule))
}

fn check_duration(text: &str) -> Result<u32, StsError> {
    let seconds: u32 = text.parse().map_err(|_| {
        StsError::sender(
            "MalformedInput",
            "Start of structure or map found where not expected.",
        )
    })?;
    if seconds < *DURATION_SECONDS.start() {
        return Err(constraint(
            text,
            "durationSeconds",
            "have value greater than or equal to 900",
        ));
    }
    if seconds > *DURATION_SECONDS.end() {
        return Err(constraint(
            text,
            "durationSeconds",
            "have value less than or equal to 43200",
        ));
    }
    Ok(seconds)
}

fn constraint(value: &str, at: &str, rule: &str) -> StsError {
    let message = format!(
        "1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: Member must {rule}"
    );
    StsError::sender("ValidationError", &message)
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

//! IAM policy documents: the part of the language that trust policies for OIDC, `rds-db:connect` and
//! session policies use. What is not understood is refused when the policy is written, never ignored.

use std::collections::BTreeMap;

use anyhow::Result;
use anyhow::bail;
use serde::Deserialize;
use serde::Serialize;

use crate::aws::condition::Operator;
use crate::aws::pattern;
use crate::aws::pattern::like;

/// A policy document as IAM writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Policy {
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    statement: Many<Statement>,
}

/// What a policy says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A statement allows it and none denies it.
    Allow,
    /// A statement denies it: final.
    Deny,
    /// No statement speaks of it.
    Silent,
}

/// Who asks, in the words of a trust policy.
#[derive(Debug, Clone)]
pub enum Caller {
    /// An ARN of IAM or STS; all the ARNs and the account id that name the same caller.
    Aws(Vec<String>),
    /// An OIDC provider's ARN.
    Federated(String),
    /// The policy belongs to an identity: it names no principal.
    Own,
}

/// One question put to a policy.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// `sts:AssumeRole`, `rds-db:connect`.
    pub action: &'a str,
    /// The ARN acted upon; none in a trust policy, whose resource is the role itself.
    pub resource: Option<&'a str>,
    /// Condition keys and their values.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    effect: StatementEffect,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    action: Many<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Many<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<String, BTreeMap<String, Many<String>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum StatementEffect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Principal {
    Anyone(String),
    Named(NamedPrincipal),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPrincipal {
    #[serde(rename = "AWS", skip_serializing_if = "Option::is_none")]
    aws: Option<Many<String>>,
    #[serde(rename = "Federated", skip_serializing_if = "Option::is_none")]
    federated: Option<Many<String>>,
}

/// IAM lets a single element stand where a list may.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Many<T> {
    One(T),
    List(Vec<T>),
}

impl<T> Many<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::List(list) => list,
        }
    }
}

impl Policy {
    /// Reads a document.
    pub fn parse(json: &str) -> Result<Self> {
        let policy: Self = serde_json::from_str(json)?;
        policy.check()?;
        Ok(policy)
    }

    /// As [`Self::parse`], from a value.
    pub fn from_value(json: serde_json::Value) -> Result<Self> {
        Self::parse(&json.to_string())
    }

    /// What this document says about `request`.
    pub fn evaluate(&self, request: &Request<'_>) -> Effect {
        let mut effect = Effect::Silent;
        for statement in self
            .statement
            .as_slice()
            .iter()
            .filter(|statement| statement.speaks_of(request))
        {
            match statement.effect {
                StatementEffect::Deny => return Effect::Deny,
                StatementEffect::Allow => effect = Effect::Allow,
            }
        }
        effect
    }

    fn check(&self) -> Result<()> {
        if let Some(version) = &self.version
            && version != "2012-10-17"
            && version != "2008-10-17"
        {
            bail!("Version {version:?} is not 2012-10-17");
        }
        for statement in self.statement.as_slice() {
            statement.check_conditions()?;
            let resources = statement.resource.as_ref().map_or(&[][..], Many::as_slice);
            for resource in resources {
                pattern::check(resource)?;
                // An older or absent version has no variables: `${` would mean itself.
                if resource.contains("${") && self.version.as_deref() != Some("2012-10-17") {
                    bail!(
                        "Resource {resource:?} has a policy variable, which needs Version 2012-10-17"
                    );
                }
            }
            if let Some(Principal::Anyone(anyone)) = &statement.principal
                && anyone != "*"
            {
                bail!("Principal {anyone:?} is neither \"*\" nor an object");
            }
        }
        Ok(())
    }
}

impl Statement {
    fn check_conditions(&self) -> Result<()> {
        for (operator, keys) in &self.condition {
            Operator::parse(operator)?;
            for value in keys.values().flat_map(Many::as_slice) {
                if value.contains("${") {
                    bail!(
                        "policy variables in a Condition ({value:?}) are not known to the sandbox"
                    );
                }
            }
        }
        Ok(())
    }

    fn speaks_of(&self, request: &Request<'_>) -> bool {
        let action = request.action.to_ascii_lowercase();
        let acts = self
            .action
            .as_slice()
            .iter()
            .any(|pattern| like(&pattern.to_ascii_lowercase(), &action));
        let on = match (request.resource, &self.resource) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(arn), Some(patterns)) => {
                patterns.as_slice().iter().any(|pattern| like(pattern, arn))
            }
        };
        acts && on && self.names(request.caller) && self.conditions_hold(request.context)
    }

    fn names(&self, caller: &Caller) -> bool {
        match (&self.principal, caller) {
            (None, Caller::Own) => true,
            (None, _) | (Some(_), Caller::Own) => false,
            (Some(Principal::Anyone(_)), _) => true,
            (Some(Principal::Named(named)), Caller::Aws(arns)) => {
                let listed = named.aws.as_ref().map_or(&[][..], Many::as_slice);
                listed.iter().any(|one| one == "*" || arns.contains(one))
            }
            (Some(Principal::Named(named)), Caller::Federated(arn)) => named
                .federated
                .as_ref()
                .map_or(&[][..], Many::as_slice)
                .contains(arn),
        }
    }

    fn conditions_hold(&self, context: &BTreeMap<String, Vec<String>>) -> bool {
        self.condition.iter().all(|(operator, keys)| {
            let Ok(operator) = Operator::parse(operator) else {
                return false;
            };
            keys.iter().all(|(key, wanted)| {
                let found = context
                    .iter()
                    .find(|(known, _)| known.eq_ignore_ascii_case(key));
                operator.holds(
                    found.map(|(_, values)| values.as_slice()),
                    wanted.as_slice(),
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(condition: serde_json::Value) -> Policy {
        Policy::from_value(serde_json::json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "Federated": "arn:p" }, "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": condition,
        }]}))
        .unwrap()
    }

    fn ask(policy: &Policy, sub: &str) -> Effect {
        let context = BTreeMap::from([("git:sub".to_owned(), vec![sub.to_owned()])]);
        let caller = Caller::Federated("arn:p".to_owned());
        let action = "sts:AssumeRoleWithWebIdentity";
        policy.evaluate(&Request {
            caller: &caller,
            action,
            resource: None,
            context: &context,
        })
    }

    #[test]
    fn wildcards_are_literal_in_string_equals() {
        let equals =
            trust(serde_json::json!({ "StringEquals": { "git:sub": "project_path:a/*" } }));
        assert_eq!(ask(&equals, "project_path:a/b"), Effect::Silent);
        let alike = trust(
            serde_json::json!({ "StringLike": { "git:sub": ["x", "project_path:?/*:ref:*"] } }),
        );
        assert_eq!(ask(&alike, "project_path:a/b:ref:main"), Effect::Allow);
        assert_eq!(ask(&alike, "project_path:aa/b:ref:main"), Effect::Silent);
    }

    #[test]
    fn a_missing_key_fails_unless_if_exists() {
        let missing = trust(serde_json::json!({ "StringEquals": { "git:aud": "x" } }));
        assert_eq!(ask(&missing, "s"), Effect::Silent);
        let lenient = trust(serde_json::json!({ "StringEqualsIfExists": { "git:aud": "x" } }));
        assert_eq!(ask(&lenient, "s"), Effect::Allow);
    }

    #[test]
    fn a_deny_is_final() {
        let policy = Policy::from_value(serde_json::json!({ "Statement": [
            { "Effect": "Allow", "Action": "rds-db:*", "Resource": "*" },
            { "Effect": "Deny", "Action": "rds-db:Connect", "Resource": "arn:*/b" },
        ]}))
        .unwrap();
        let context = BTreeMap::new();
        let ask = |arn| {
            let action = "rds-db:connect";
            policy.evaluate(&Request {
                caller: &Caller::Own,
                action,
                resource: Some(arn),
                context: &context,
            })
        };
        assert_eq!(ask("arn:x/a"), Effect::Allow);
        assert_eq!(ask("arn:x/b"), Effect::Deny);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown = serde_json::json!({ "Statement": { "Effect": "Allow", "Action": "a", "Resource": "*",
            "Condition": { "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } } } });
        let error = Policy::from_value(unknown).unwrap_err().to_string();
        assert_eq!(
            error,
            "condition operator \"IpAddress\" is not known to the sandbox"
        );
        let typo = Policy::from_value(serde_json::json!({ "Statment": [] }))
            .unwrap_err()
            .to_string();
        assert!(typo.starts_with("unknown field `Statment`"), "{typo}");
    }
}

//! The emulated AWS: one account, its policies, and the services that judge by them.
//!
//! - [`account`]: roles, users, keys.
//! - [`policy`]: IAM's policy language.
//! - [`sigv4`]: is this request or token signed by that key.
//! - [`sts`]: AssumeRoleWithWebIdentity, AssumeRole, GetCallerIdentity; [`web_identity`] judges the ID token.

pub mod account;
mod asked;
mod condition;
mod pattern;
pub mod policy;
mod signed;
pub mod sigv4;
pub mod sts;
pub mod web_identity;
mod xml;

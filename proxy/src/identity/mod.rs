//! ID token -> STS credentials -> RDS token: who this process is, and the proof of it for one login.
//!
//! # Layout
//! - [`id_token`]: the OIDC token's showable claims; `token_source`: variable, file or push
//! - `sts`: the trade for credentials, role chains; [`policy`]: the session's rights narrowed to the logins
//! - `default_chain`: credentials where no role is configured; `http`: the client for both
//! - `credentials`: the one cached copy; `backoff`: when it is renewed
//! - [`rds_token`]: the pure signature; [`endpoint`], [`resolve`](fn@resolve) and `dns`: for which name and region
//! - [`error`], [`refusal`]: what went wrong and what to change; [`state`]: what is known from outside
//!
//! Invariant: nothing here opens a database socket, and no secret is in any `Debug`, error, log or state.

mod backoff;
mod credentials;
mod default_chain;
mod dns;
pub mod endpoint;
pub mod error;
mod held;
mod http;
pub mod id_token;
pub mod policy;
pub mod rds_token;
pub mod refusal;
mod resolve;
pub mod state;
mod sts;
mod text;
mod token_source;

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use secrecy::SecretString;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::identity::credentials::Cache;
use crate::identity::default_chain::DefaultChain;
pub use crate::identity::error::IdentityError;
pub use crate::identity::id_token::Claims;
use crate::identity::id_token::IdToken;
pub use crate::identity::id_token::IdTokenError;
pub use crate::identity::policy::Login;
pub use crate::identity::policy::Scope;
pub use crate::identity::rds_token::SignError;
pub use crate::identity::rds_token::SignTarget;
pub use crate::identity::rds_token::sign;
pub use crate::identity::resolve::EndpointError;
pub use crate::identity::resolve::RealEndpoint;
pub use crate::identity::resolve::resolve;
pub use crate::identity::state::Counters;
pub use crate::identity::state::IdentityState;
pub use crate::identity::state::Ready;
use crate::identity::sts::Sts;
use crate::identity::token_source::TokenSource;

/// The wall clock is looked at this often while nothing is due: timers stand still while a laptop sleeps.
const TICK: Duration = Duration::from_secs(15);
/// How often a remembered failure is checked for a changed token file.
const TICK_FAILED: Duration = Duration::from_secs(1);
/// How long the AWS default chain is left alone after a failure, unless a client needs it.
const CHAIN_PAUSE: Duration = Duration::from_secs(60);

/// Who this process is. One per process.
pub struct Identity {
    source: Source,
    /// Complete but for the region, which may be learned later.
    sts: Sts,
    region: OnceLock<String>,
    cache: Arc<Cache>,
    clock: Clock,
}

enum Source {
    Chain(Arc<DefaultChain>),
    WebIdentity {
        role_arn: String,
        tokens: Box<TokenSource>,
    },
}

impl Identity {
    /// Prepares; makes no call and waits for nothing. Reads the CA bundle, if one is configured.
    ///
    /// `scope` names the logins this process will make: the session policy is made of it, and the region where
    /// none is configured.
    pub fn new(
        config: &config::Identity,
        scope: Scope,
        clock: Clock,
    ) -> Result<Arc<Self>, IdentityError> {
        let http = http::client(
            config.aws_ca_bundle.as_deref(),
            config.sts_endpoint.as_deref(),
        )?;
        let last_role = config
            .assume
            .last()
            .or(config.role_arn.as_ref())
            .filter(|_| config.scope_down);
        let source = match &config.role_arn {
            Some(role_arn) => Source::WebIdentity {
                role_arn: role_arn.clone(),
                tokens: Box::new(TokenSource::new(
                    config.id_token.clone(),
                    config.gitlab.clone(),
                    clock.clone(),
                )),
            },
            None => Source::Chain(Arc::new(DefaultChain::new(
                config.profile.clone(),
                http.clone(),
            ))),
        };
        let region = OnceLock::new();
        if let Some(known) = config.region.as_deref().or_else(|| scope.first_region()) {
            let _ = region.set(known.to_owned());
        }
        let sts = Sts {
            http,
            endpoint: config.sts_endpoint.clone(),
            region: None,
            session_name: config.session_name.clone(),
            session_seconds: config.session_seconds,
            chain: config.assume.clone(),
            policy: last_role.and_then(|role_arn| scope.session_policy(role_arn)),
        };
        Ok(Arc::new(Self {
            source,
            sts,
            region,
            cache: Cache::new(clock.clone()),
            clock,
        }))
    }

    /// Valid AWS credentials: those held, or new ones. Waits for an ID token as long as there is none, so the
    /// caller bounds the wait and then asks [`Identity::timed_out`] for the reason. Cancel safe.
    pub async fn credentials(&self) -> Result<Credentials, IdentityError> {
        if let Some(credentials) = self.cache.usable() {
            return Ok(credentials);
        }
        match self.fetch().await {
            Ok(credentials) => Ok(credentials),
            Err(error) => self.cache.valid().ok_or(error),
        }
    }

    /// Signs a token for `user` at `target`: the password of one login. Cancel safe.
    pub async fn rds_token(
        &self,
        target: &SignTarget,
        user: &str,
    ) -> Result<SecretString, IdentityError> {
        self.learn_region(&target.region);
        let credentials = self.credentials().await?;
        let token = sign(&credentials, target, user, self.clock.now())?;
        self.cache.count_rds_token();
        Ok(token)
    }

    /// Tells the region of a database, where neither configuration nor a configured name did: STS is then asked
    /// in that region. The first one counts.
    pub fn learn_region(&self, region: &str) {
        if self.region.set(region.to_owned()).is_ok() {
            tracing::debug!(region, "STS region learned from a database's endpoint");
            self.cache.supersede();
        }
    }

    /// Takes an ID token from now on (`PUT /identity`), wakes those who wait for one and has the credentials
    /// renewed. It must be a JWT with readable claims, not expired, and of this CI job.
    pub fn push_id_token(&self, token: SecretString) -> Result<Claims, IdTokenError> {
        match &self.source {
            Source::Chain(_) => Err(IdTokenError::NoRole),
            Source::WebIdentity { tokens, .. } => {
                let claims = tokens.push(&token)?;
                tracing::info!(%claims, "ID token received");
                self.cache.supersede();
                Ok(claims)
            }
        }
    }

    /// Where the identity stands, and every change of it.
    pub fn subscribe(&self) -> watch::Receiver<IdentityState> {
        self.cache.subscribe()
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.cache.counters()
    }

    /// A database refused a login although it should not have: the next [`Identity::credentials`] fetches
    /// anew. Returns false, and does nothing, when that was done less than 30 seconds ago.
    pub fn invalidate(&self) -> bool {
        self.cache.invalidate()
    }

    /// The error for a client that waited `after` for [`Identity::credentials`] in vain.
    pub fn timed_out(&self, after: Duration) -> IdentityError {
        match (&*self.cache.subscribe().borrow(), &self.source) {
            (IdentityState::Failed { error, .. }, _) => error.clone(),
            // There is a token once STS is being asked.
            (IdentityState::Waiting { .. }, Source::WebIdentity { tokens, .. })
                if !self.cache.is_fetching() =>
            {
                tokens.missing()
            }
            (IdentityState::Waiting { .. } | IdentityState::Ready(_), _) => {
                IdentityError::TimedOut { after }
            }
        }
    }

    /// Keeps the credentials fresh; never ends. Failures are logged and tried again.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            let due = self.cache.due_in();
            if !due.is_zero() {
                self.sleep(due).await;
            } else if self.fetch().await.is_err() {
                self.pause().await;
            }
        }
    }

    /// Between a failure and the next attempt nobody asked for.
    async fn pause(&self) {
        let pause = match &self.source {
            // A profile's credential_process may ask its user for a code: not every few seconds.
            Source::Chain(_) => CHAIN_PAUSE,
            // A refusal has its own, longer time; a token that cannot be used is looked at again.
            Source::WebIdentity { .. } => TICK_FAILED,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.cache.sooner() => {}
        }
    }

    /// Sleeps for `due`, or less when there is a reason to look again.
    async fn sleep(&self, due: Duration) {
        let refused = self.cache.refused_token();
        let tick = if refused.is_some() { TICK_FAILED } else { TICK };
        tokio::select! {
            () = tokio::time::sleep(due.min(tick)) => {}
            () = self.cache.sooner() => return,
        }
        if let (Some(_), Source::WebIdentity { tokens, .. }) = (refused, &self.source)
            && let Ok(Some(token)) = tokens.now().await
        {
            self.cache.forgive_other_token(&token);
        }
        self.cache.look_at_clock();
    }

    async fn fetch(&self) -> Result<Credentials, IdentityError> {
        let sts = Sts {
            region: self.region.get().cloned(),
            ..self.sts.clone()
        };
        match &self.source {
            Source::Chain(chain) => {
                let chain = Arc::clone(chain);
                let ask = move || async move {
                    let credentials = chain.credentials(sts.region.as_deref()).await?;
                    sts.walk_chain(credentials, None).await
                };
                self.cache.fetch(None, || Box::pin(ask())).await
            }
            Source::WebIdentity { role_arn, tokens } => {
                let token = self.id_token(tokens).await?;
                if !sts.can_begin() {
                    return Err(self.cannot_begin(IdentityError::RegionUnknown));
                }
                let role_arn = role_arn.clone();
                let of = Arc::clone(&token);
                let ask = move || async move { sts.with_id_token(&role_arn, &token).await };
                self.cache.fetch(Some(of), || Box::pin(ask())).await
            }
        }
    }

    async fn id_token(&self, tokens: &TokenSource) -> Result<Arc<IdToken>, IdentityError> {
        let now = match tokens.now().await {
            Ok(Some(token)) => return Ok(token),
            Ok(None) => {
                let missing = tokens.missing();
                // Credentials near their end are no reason to hold a client until a token comes.
                if self.cache.valid().is_some() {
                    return Err(missing);
                }
                self.cache.cannot_begin(IdentityState::Waiting {
                    awaited: missing.to_string(),
                });
                tokens.wait().await
            }
            Err(IdTokenError::NotJwt { .. } | IdTokenError::ClaimMissing { .. }) => {
                tokens.wait().await
            }
            Err(error) => Err(error),
        };
        now.map_err(|error| self.cannot_begin(IdentityError::IdToken(error)))
    }

    fn cannot_begin(&self, error: IdentityError) -> IdentityError {
        self.cache.cannot_begin(IdentityState::Failed {
            error: error.clone(),
            since: self.clock.now(),
        });
        error
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Chain(_) => "default chain",
            Source::WebIdentity { role_arn, .. } => role_arn,
        };
        f.debug_struct("Identity")
            .field("source", &source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod scripted_sts;
#[cfg(test)]
#[allow(
    dead_code,
    unused_imports,
    reason = "the rest of the tests is on its way"
)]
mod tests;

//! Without a role: the AWS default chain, as the AWS CLI has it (environment, profile with SSO and
//! `credential_process`, web identity, container, IMDS). For laptops and EC2/ECS/EKS runners.

use std::fmt;

use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::SharedHttpClient;
use tokio::sync::OnceCell;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::identity::error::IdentityError;
use crate::identity::text;

/// The chain; built once, at first use. It does not cache credentials, whatever its documentation says.
pub(super) struct DefaultChain {
    profile: Option<String>,
    http: SharedHttpClient,
    built: OnceCell<DefaultCredentialsChain>,
}

impl DefaultChain {
    /// Makes no call and reads no file.
    pub(super) fn new(profile: Option<String>, http: SharedHttpClient) -> Self {
        Self {
            profile,
            http,
            built: OnceCell::new(),
        }
    }

    /// Asks the chain. `region` is used by its own calls (SSO, AssumeRole of a profile).
    pub(super) async fn credentials(
        &self,
        region: Option<&str>,
    ) -> Result<Credentials, IdentityError> {
        // The chain logs its failures as warnings, with all that a credential_process wrote to its stderr. The
        // error says the same without that.
        let asked = async {
            let chain = self.built.get_or_init(|| self.build(region)).await;
            chain.provide_credentials().await
        };
        asked
            .with_subscriber(NoSubscriber::new())
            .await
            .map_err(|error| self.explain(&error))
    }

    async fn build(&self, region: Option<&str>) -> DefaultCredentialsChain {
        let config = ProviderConfig::without_region()
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_http_client(self.http.clone());
        let mut profile_region = ProfileFileRegionProvider::builder();
        let mut chain = DefaultCredentialsChain::builder().configure(config);
        if let Some(profile) = &self.profile {
            profile_region = profile_region.profile_name(profile);
            chain = chain.profile_name(profile);
        }
        // Not the SDK's own region chain: that one ends at IMDS, which hangs where there is none.
        let region =
            RegionProviderChain::first_try(region.map(|region| Region::new(region.to_owned())))
                .or_else(EnvironmentVariableRegionProvider::new())
                .or_else(profile_region.build());
        chain.region(region).build().await
    }

    fn explain(&self, error: &CredentialsError) -> IdentityError {
        let mut words = vec![error.to_string()];
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            words.push(inner.to_string());
            source = inner.source();
        }
        let words = words.join(": ");
        // What a credential_process wrote to its stderr is not ours to repeat.
        let reason = words.split(" Stderr:").next().unwrap_or(&words);
        IdentityError::DefaultChain {
            profile: self.profile.clone(),
            reason: text::printable(reason),
        }
    }
}

impl fmt::Debug for DefaultChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultChain")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

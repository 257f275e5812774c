//! SCRAM-SHA-256, the server's half (RFC 5802, RFC 7677; manual 55.3.1): clients prove that they know the shared
//! secret. Pure.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest;
use ring::hmac;
use ring::pbkdf2;
use secrecy::ExposeSecret;
use secrecy::SecretString;

/// The one mechanism offered: no channel binding, because libpq refuses `-PLUS` on a plain socket.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// PostgreSQL's own default (scram-common.h, `SCRAM_SHA_256_DEFAULT_ITERATIONS`).
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// The secret as a server keeps it: enough to check a proof, not enough to make one. Made once, because the key
/// derivation costs milliseconds.
pub struct Verifier {
    salt: [u8; 16],
    stored_key: [u8; KEY_BYTES],
    server_key: hmac::Key,
}

/// The client did not follow the protocol, or does not know the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The proof is false.
    #[error("the password is wrong")]
    FalseProof,
    /// A message that no client sends.
    #[error("malformed SCRAM message")]
    Malformed,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Derives the keys from the secret.
    pub fn new(secret: &SecretString, salt: [u8; 16]) -> Self {
        // As the server does: a password that is no valid UTF-8 or SASLprep text is taken as it is.
        let prepared = stringprep::saslprep(secret.expose_secret());
        let password = prepared.as_deref().unwrap_or(secret.expose_secret());
        let mut salted = [0; KEY_BYTES];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let server_key = hmac::sign(&salted, b"Server Key");
        Self {
            salt,
            stored_key: sha256(client_key.as_ref()),
            server_key: hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()),
        }
    }

    /// Takes the client's first message and makes the server's. `nonce` is our part of it, printable.
    ///
    /// The user name inside is ignored, as in PostgreSQL: the one in the startup packet counts.
    pub fn start(&self, client_first: &[u8], nonce: &str) -> Result<Exchange<'_>, ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let (gs2, bare) = split_gs2(text)?;
        let client_nonce = attribute(bare.split(',').nth(1), "r=")?;
        let nonce = format!("{client_nonce}{nonce}");
        let server_first = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(self.salt));
        Ok(Exchange {
            verifier: self,
            channel: BASE64.encode(gs2),
            so_far: format!("{bare},{server_first}"),
            nonce,
            server_first,
        })
    }
}

/// One client's exchange, waiting for its proof.
#[derive(Debug)]
pub struct Exchange<'a> {
    verifier: &'a Verifier,
    /// What the client must repeat of its channel-binding wish.
    channel: String,
    nonce: String,
    so_far: String,
    server_first: String,
}

impl Exchange<'_> {
    /// The server's first message.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Takes the client's final message and makes the server's, which proves that we know the secret too.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        if attribute(attributes.next(), "c=")? != self.channel
            || attribute(attributes.next(), "r=")? != self.nonce
        {
            return Err(ScramError::Malformed);
        }
        let proof = BASE64.decode(proof).map_err(|_| ScramError::Malformed)?;
        let proof: [u8; KEY_BYTES] = proof.try_into().map_err(|_| ScramError::Malformed)?;
        let message = format!("{},{without_proof}", self.so_far);
        let signature = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &self.verifier.stored_key),
            message.as_bytes(),
        );
        let mut client_key = proof;
        client_key
            .iter_mut()
            .zip(signature.as_ref())
            .for_each(|(byte, mask)| *byte ^= mask);
        let same =
            subtle::ConstantTimeEq::ct_eq(&sha256(&client_key)[..], &self.verifier.stored_key[..]);
        if !bool::from(same) {
            return Err(ScramError::FalseProof);
        }
        Ok(format!(
            "v={}",
            BASE64.encode(hmac::sign(&self.verifier.server_key, message.as_bytes()))
        ))
    }
}

/// Splits `n,,n=user,r=nonce` behind the second comma. `p=` asks for channel binding, which was not offered.
fn split_gs2(text: &str) -> Result<(&str, &str), ScramError> {
    let ("n" | "y", rest) = text.split_once(',').ok_or(ScramError::Malformed)? else {
        return Err(ScramError::Malformed);
    };
    let (authorization, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
    if !authorization.is_empty() {
        return Err(ScramError::Malformed);
    }
    text.split_at_checked(text.len() - bare.len())
        .ok_or(ScramError::Malformed)
}

fn attribute<'a>(part: Option<&'a str>, name: &str) -> Result<&'a str, ScramError> {
    part.and_then(|part| part.strip_prefix(name))
        .filter(|value| !value.is_empty())
        .ok_or(ScramError::Malformed)
}

fn sha256(bytes: &[u8]) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::ChannelBinding;
    use postgres_protocol::authentication::sasl::ScramSha256;

    use super::*;

    fn verifier(secret: &str) -> Verifier {
        Verifier::new(&secret.into(), *b"0123456789abcdef")
    }

    /// Against an independent client.
    fn log_in(secret: &str, password: &str, binding: ChannelBinding) -> Result<(), ScramError> {
        let verifier = verifier(secret);
        let mut client = ScramSha256::new(password.as_bytes(), binding);
        let exchange = verifier.start(client.message(), "server-nonce")?;
        client.update(exchange.server_first().as_bytes()).unwrap();
        let last = exchange.finish(client.message())?;
        client
            .finish(last.as_bytes())
            .expect("the client must believe us");
        Ok(())
    }

    #[test]
    fn a_client_that_knows_the_secret_gets_in_and_believes_us() {
        assert_eq!(
            log_in("secret", "secret", ChannelBinding::unsupported()),
            Ok(())
        );
        assert_eq!(
            log_in("secret", "secret", ChannelBinding::unrequested()),
            Ok(())
        );
        assert_eq!(
            log_in("pässwörd ²", "pässwörd 2", ChannelBinding::unsupported()),
            Ok(()),
            "SASLprep"
        );
        assert_eq!(
            log_in("secret", "other", ChannelBinding::unsupported()),
            Err(ScramError::FalseProof)
        );
    }

    /// RFC 7677, section 3.
    #[test]
    fn the_published_example() {
        let mut salt = [0; 16];
        salt.copy_from_slice(&BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap());
        let verifier = Verifier::new(&"pencil".into(), salt);
        let exchange = verifier
            .start(
                b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            )
            .unwrap();
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = exchange.finish(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        assert_eq!(
            last.as_deref(),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    #[test]
    fn what_no_honest_client_sends() {
        let verifier = verifier("secret");
        for first in [
            "",
            "p=tls-server-end-point,,n=,r=x",
            "n,a=admin,n=,r=x",
            "n,,n=",
            "n,,n=,r=",
            "q,,n=,r=x",
        ] {
            assert_eq!(
                verifier.start(first.as_bytes(), "n").unwrap_err(),
                ScramError::Malformed,
                "{first}"
            );
        }
        for last in [
            "",
            "c=biws,r=xn",
            "c=eSws,r=xn,p=AAAA",
            "c=biws,r=x,p=AAAA",
            "c=biws,r=xn,p=AAAA",
            "c=biws,r=xn,p=?",
        ] {
            let exchange = verifier.start(b"n,,n=,r=x", "n").unwrap();
            assert_eq!(
                exchange.finish(last.as_bytes()),
                Err(ScramError::Malformed),
                "{last}"
            );
        }
    }
}

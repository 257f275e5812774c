//! Lets a client prove that it knows the shared secret: SCRAM-SHA-256 over its stream.

use tokio::io::AsyncWriteExt;

use super::login::receive;
use super::scram;
use super::scram::ScramError;
use super::wire::auth;
use crate::session::AppStream;

/// A SASL message of a client may be this long.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// `Err(None)`: the client went away.
pub async fn exchange(
    verifier: &scram::Verifier,
    io: &mut AppStream,
) -> Result<(), Option<ScramError>> {
    let mut out = Vec::new();
    auth::put_sasl(&mut out, scram::MECHANISM);
    io.write_all(&out).await.map_err(|_| None)?;
    let body = sasl_message(io).await?;
    let (mechanism, first) = auth::sasl_initial(&body).map_err(|_| ScramError::Malformed)?;
    if mechanism != scram::MECHANISM {
        return Err(Some(ScramError::Malformed));
    }
    let nonce: u128 = rand::random();
    let exchange = verifier.start(first, &format!("{nonce:032x}"))?;
    out.clear();
    auth::put_sasl_data(&mut out, false, exchange.server_first().as_bytes());
    io.write_all(&out).await.map_err(|_| None)?;
    let last = exchange.finish(&sasl_message(io).await?)?;
    out.clear();
    auth::put_sasl_data(&mut out, true, last.as_bytes());
    io.write_all(&out).await.map_err(|_| None)
}

async fn sasl_message(io: &mut AppStream) -> Result<Vec<u8>, Option<ScramError>> {
    match receive(io, MESSAGE_BYTES_MAX).await {
        Ok((b'p', body)) => Ok(body),
        Ok(_) => Err(Some(ScramError::Malformed)),
        Err(_) => Err(None),
    }
}

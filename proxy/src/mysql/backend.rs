//! The upstream side, as the pool sees it: opens, resets, watches and closes connections to the database server.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::timeout_at;

use super::baseline;
use super::baseline::Baseline;
use super::cancel::Victim;
use super::dialer::Dialer;
use super::dialer::say_goodbye;
use super::error::BackendError;
use super::key::Key;
use super::wire::status;
use super::wire::status::OkPacket;
use crate::pool;
use crate::pool::Health;
use crate::session::Gate;
use crate::tls::IdleHealth;
use crate::tls::Verified;

/// A logged-in upstream connection.
#[derive(Debug)]
pub struct Conn {
    /// The stream.
    pub io: Verified<TcpStream>,
    /// The payload of the server's OK packet at login, shown to every client as a direct login would.
    pub ok: Vec<u8>,
    /// What the session was right after its login.
    pub baseline: Baseline,
    /// How its statements are stopped, and whose it is.
    pub victim: Arc<Victim>,
}

/// One database server.
#[derive(Debug)]
pub struct Backend(pub Arc<Dialer>);

impl pool::Backend for Backend {
    type Key = Key;
    // On the heap: it is moved about more than it is used.
    type Conn = Box<Conn>;
    type Error = BackendError;

    async fn dial(&self, key: &Key) -> Result<Box<Conn>, BackendError> {
        let Self(dialer) = self;
        let deadline = Instant::now() + dialer.database.connect_timeout;
        let outcome = match connect(dialer, key, deadline).await {
            // A role changed, a session revoked: what we hold may be dead before its time.
            Err(error) if error.token_refused() && dialer.identity.invalidate() => {
                tracing::debug!(%error, "login refused, trying once more with fresh credentials");
                connect(dialer, key, deadline).await
            }
            outcome => outcome,
        };
        dialer
            .last_failure
            .send_replace(outcome.as_ref().err().cloned());
        outcome
    }

    async fn reset(&self, mut conn: Box<Conn>) -> Option<Box<Conn>> {
        let Conn {
            io,
            baseline,
            victim,
            ..
        } = &mut *conn;
        baseline.restore(io, &victim.key).await?;
        Some(conn)
    }

    fn health(&self, conn: &mut Box<Conn>) -> Health {
        match conn.io.idle_health() {
            IdleHealth::Alive => Health::Clean,
            IdleHealth::Dead => Health::Dead,
        }
    }

    async fn close(&self, conn: Box<Conn>) {
        say_goodbye(conn.io).await;
    }
}

async fn connect(
    dialer: &Arc<Dialer>,
    key: &Key,
    deadline: Instant,
) -> Result<Box<Conn>, BackendError> {
    let pass = dialer.pass(key, deadline).await?;
    let greeted = match dialer.greeter.take_spare() {
        Some(spare) => spare,
        None => dialer.reach(deadline).await?,
    };
    let mut opened = dialer.open(key, &pass, greeted, deadline).await?;
    let asked = baseline::ask(&mut opened.io, key, &opened.greeting.version);
    let baseline = timeout_at(deadline, asked)
        .await
        .map_err(|_| dialer.late("the first statement"))?
        .map_err(|error| dialer.unread(error, "the first statement"))?;
    tracing::debug!(endpoint = %dialer.database.upstream, user = key.user_text(),
        database = key.database_text(), address = %opened.address, resumed = opened.io.resumed(),
        "upstream connection opened");
    let victim = Victim {
        dialer: Arc::clone(dialer),
        address: opened.address,
        thread_id: opened.greeting.thread_id,
        key: key.clone(),
        gate: Gate::default(),
    };
    Ok(Box::new(Conn {
        io: opened.io,
        ok: welcome(&opened.ok, key),
        baseline,
        victim: Arc::new(victim),
    }))
}

/// The OK packet that clients get. Its text is left out: MariaDB from 11.4 on proves with it that it knows the password
/// and shows this very certificate, which is for the client of this connection alone, that is for us.
fn welcome(ok: &[u8], key: &Key) -> Vec<u8> {
    let Ok(packet) = OkPacket::parse(ok, key.capabilities) else {
        return ok.to_vec();
    };
    let mut out = Vec::with_capacity(ok.len());
    OkPacket {
        info: &[],
        ..packet
    }
    .put(&mut out, status::OK, key.capabilities);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::wire::Capabilities;
    use crate::mysql::wire::handshake::Attributes;

    #[test]
    fn the_servers_proof_is_not_passed_on_and_session_state_is() {
        let key = Key {
            user: Vec::new(),
            database: Vec::new(),
            charset: 45,
            packet_max: 0,
            capabilities: Capabilities::SESSION_TRACK,
            attributes: Attributes::new(),
        };
        let state = b"\x01\x04\x03app";
        let login = [&b"\0\0\0\x02\x40\0\0\x03\x01ab\x06"[..], state].concat();
        let expected = [&b"\0\0\0\x02\x40\0\0\x00\x06"[..], state].concat();
        assert_eq!(welcome(&login, &key), expected);
        let plain = Key {
            capabilities: Capabilities::NONE,
            ..key
        };
        assert_eq!(
            welcome(b"\0\0\0\x02\0\0\0\x01ab", &plain),
            b"\0\0\0\x02\0\0\0"
        );
    }
}

//! One client's session, from its OK packet to its last byte.

use std::io;
use std::sync::Arc;

use super::backend::Backend;
use super::cancel::KillError;
use super::cancel::Registration;
use super::front::ClientIo;
use super::key::Key;
use super::prove::Claim;
use super::relay::End;
use super::relay::Relay;
use super::service::Greeted;
use super::service::Prepared;
use super::service::Refusal;
use super::service::Service;
use super::settle::Farewell;
use super::settle::settle;
use super::statement::Kill;
use super::statement::Scope;
use super::told::Told;
use super::wire::Capabilities;
use super::wire::handshake::ChangeUser;
use super::wire::status::ErrPacket;
use crate::pool::Lease;

/// COM_CHANGE_USER has number 0; the dialogue goes on from here.
const AFTER_COMMAND: u8 = 1;

/// What a session has moved, over all its logins.
#[derive(Debug, Default)]
struct Moved {
    statements: u64,
    up: u64,
    down: u64,
    /// How the latest login ended.
    end: &'static str,
}

impl Service {
    /// Relays until the client leaves, through as many logins as it makes on the way.
    pub(super) async fn converse(&self, mut io: ClientIo, id: &Registration, prepared: Prepared) {
        let mut moved = Moved::default();
        let mut next = Some(prepared);
        while let Some(prepared) = next.take() {
            next = Box::pin(self.one_login(&mut io, id, prepared, &mut moved)).await;
        }
        self.metrics
            .session_ended(moved.statements, moved.up, moved.down);
        tracing::info!(
            statements = moved.statements,
            bytes_up = moved.up,
            bytes_down = moved.down,
            end = moved.end,
            "session ended"
        );
    }

    /// One login's time with its connection. Returns the next login's, where the client made one.
    async fn one_login(
        &self,
        io: &mut ClientIo,
        id: &Registration,
        mut prepared: Prepared,
        moved: &mut Moved,
    ) -> Option<Prepared> {
        let lease = &mut prepared.lease;
        let victim = Arc::clone(&lease.victim);
        let agreed = victim.key.capabilities | Capabilities::PROTOCOL_41;
        let early = std::mem::take(&mut prepared.client.early);
        let mut relay = Relay::new(early, agreed, self.drain.watch());
        victim.gate.open();
        id.client.attach(Some(Arc::clone(&victim)));
        let end = match io.send(&lease.ok).await {
            Ok(()) => self.relay(&mut relay, io, lease, id).await,
            Err(error) => End::ClientGone(Some(error)),
        };
        id.client.attach(None);
        moved.add(&relay);
        moved.end = end.word();
        let farewell = match end {
            End::ChangeUser(payload) => {
                let Prepared { lease, mut client } = prepared;
                let before = lease.victim.key.clone();
                client.early = Box::pin(self.give_back_settled(lease, relay)).await;
                let changed = self.change_user(io, id, (client, before), &payload);
                return match Box::pin(changed).await {
                    Ok(prepared) => Some(prepared),
                    Err(refusal) => {
                        self.refuse(io, refusal).await;
                        None
                    }
                };
            }
            End::ClientTerminated | End::Drained => Some(Farewell::Goodbye),
            End::ClientViolation => {
                io.continue_at(AFTER_COMMAND);
                self.refuse(io, Told::bad_handshake().into()).await;
                Some(Farewell::Loss)
            }
            End::ServerGone(_) => None,
            End::ClientGone(_)
            | End::CutOff
            | End::ConnectionReset
            | End::Kill(_)
            | End::SessionsChanged => Some(Farewell::Loss),
        };
        // The client need not wait for what happens to its connection. One that idles is told nothing: clients take
        // what nobody asked for as a broken protocol.
        if let Err(error) = close(io).await {
            tracing::trace!(%error, "client was gone already");
        }
        Box::pin(self.give_back(prepared.lease, relay, farewell)).await;
        None
    }

    /// Relays until the session ends or changes, doing on the way what a statement needs done beside it.
    async fn relay(
        &self,
        relay: &mut Relay,
        io: &mut ClientIo,
        lease: &mut Lease<Backend>,
        id: &Registration,
    ) -> End {
        loop {
            let end = tokio::select! {
                biased;
                end = relay.run(io, &mut lease.io) => end,
                () = id.client.killed.cancelled() => return End::ClientGone(None),
            };
            match end {
                End::Kill(kill) => match self.kill(kill, lease, id).await {
                    Ok(()) => relay.answer_ok(),
                    Err(KillError::Told(told)) => {
                        let payload = told.payload(true);
                        match ErrPacket::parse(&payload) {
                            Ok(error) => relay.answer_error(&error),
                            Err(_) => return End::ClientGone(None),
                        }
                    }
                    Err(KillError::Lost) => return End::ServerGone(None),
                },
                End::SessionsChanged => self.pool.bump_generation(|_| true),
                // A direct connection has what the server makes of it; so has this one.
                End::ConnectionReset => {}
                end => return end,
            }
        }
    }

    /// Kills the session that works for the client with this id at this moment.
    async fn kill(
        &self,
        kill: Kill,
        by: &mut Lease<Backend>,
        own: &Registration,
    ) -> Result<(), KillError> {
        let Some(client) = self.cancels.find(kill.id) else {
            return Err(Told::no_such_thread(kill.id).into());
        };
        self.metrics.cancelled();
        if kill.id == own.id() {
            // All that this client runs is the KILL.
            if kill.scope == Scope::Connection {
                client.killed.cancel();
            }
            return Err(Told::killed().into());
        }
        match (client.victim(), kill.scope) {
            // The server closes it, and its client hears what the server says.
            (Some(victim), scope) => victim.kill(scope, by).await,
            (None, Scope::Connection) => {
                client.killed.cancel();
                Ok(())
            }
            (None, Scope::Query) => Ok(()),
        }
    }

    /// COM_CHANGE_USER: another login on the client's connection. Its upstream connection was given back first, so that
    /// it can be lent again, to this very client perhaps.
    async fn change_user(
        &self,
        io: &mut ClientIo,
        id: &Registration,
        (mut client, before): (Greeted, Key),
        payload: &[u8],
    ) -> Result<Prepared, Refusal> {
        io.continue_at(AFTER_COMMAND);
        let body = payload.get(1..).unwrap_or_default();
        let change =
            ChangeUser::parse(body, client.negotiated).map_err(|_| Told::bad_handshake())?;
        let claim = Claim {
            plugin: change.plugin.as_deref(),
            answer: &change.auth,
            scramble: &client.scramble,
            attributes: &change.attributes,
        };
        client.scramble = self
            .authenticate(io, &change.user, claim, client.peer)
            .await?;
        let key = before.changed(&change, &self.database);
        let lease = self.wait_for_lease(&key, io, id, &mut client.early).await?;
        Ok(Prepared { lease, client })
    }

    /// Gives the connection back at a moment when nothing is outstanding; returns what the client sent ahead.
    async fn give_back_settled(&self, lease: Lease<Backend>, relay: Relay) -> Vec<u8> {
        lease.victim.gate.close().await;
        if relay.observer.is_poolable() {
            lease.release().await;
        } else {
            lease.discard().await;
        }
        relay.into_early()
    }

    /// Brings the server to rest and gives its connection back, or closes it. No farewell: the server is lost.
    async fn give_back(
        &self,
        mut lease: Lease<Backend>,
        mut relay: Relay,
        farewell: Option<Farewell>,
    ) {
        let victim = Arc::clone(&lease.victim);
        let rested = match farewell {
            Some(farewell) => settle(&mut relay, &mut lease.io, &*victim, farewell).await,
            None => false,
        };
        victim.gate.close().await;
        if rested {
            lease.release().await;
        } else {
            lease.discard().await;
        }
    }
}

impl Moved {
    fn add(&mut self, relay: &Relay) {
        let (up, down) = relay.bytes();
        self.statements += relay.observer.statements;
        self.up += up;
        self.down += down;
    }
}

async fn close(io: &mut ClientIo) -> io::Result<()> {
    tokio::io::AsyncWriteExt::shutdown(io).await
}

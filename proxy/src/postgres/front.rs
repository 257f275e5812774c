//! The application's side up to its startup packet: what it wants, over which stream (protocol.md A.1, A.2).

use std::io;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::wire::Severity;
use super::wire::Startup;
use super::wire::error::put_error;
use super::wire::startup::CancelKey;
use super::wire::startup::FirstPacket;
use super::wire::startup::MINOR_MAX;
use super::wire::startup::STARTUP_BYTES_MAX;
use super::wire::startup::negotiate_protocol_version;
use crate::fault::ClientError;
use crate::net::ClientStream;
use crate::session::AppStream;
use crate::tls::ClientAcceptor;

/// First byte of a TLS record with a handshake in it: direct TLS, without an SSLRequest (PostgreSQL 17).
const TLS_HANDSHAKE_RECORD: u8 = 0x16;

/// What a client wants.
#[derive(Debug)]
pub enum Hello {
    /// Stop the statement of another session. The stream is closed when that was passed on.
    Cancel(CancelKey, AppStream),
    /// Nothing: it closed, or what it sent was answered and that was the end.
    Gone,
    /// A session.
    Session(Startup, AppStream),
}

/// Reads up to the startup packet, answering requests for encryption. The caller bounds the time.
pub async fn hello(stream: ClientStream, acceptor: Option<&ClientAcceptor>) -> io::Result<Hello> {
    let acceptor = acceptor.filter(|_| stream.is_tcp());
    // Without TLS to offer, a TLS record is a first packet of an impossible length: the end, as in PostgreSQL
    // ("received direct SSL connection request without SSL configured").
    let direct = match acceptor {
        Some(acceptor) if stream.peek().await? == Some(TLS_HANDSHAKE_RECORD) => Some(acceptor),
        _ => None,
    };
    let mut io = match direct {
        Some(acceptor) => AppStream::Tls(Box::new(acceptor.accept_direct(stream).await?)),
        None => AppStream::Plain(stream),
    };
    let (mut tls_asked, mut gss_asked) = (direct.is_some(), false);
    loop {
        let Some(packet) = read_packet(&mut io).await? else {
            return Ok(Hello::Gone);
        };
        match FirstPacket::parse(&packet) {
            Ok(FirstPacket::Ssl) if !tls_asked => {
                tls_asked = true;
                answer_tls(&mut io, acceptor).await?;
            }
            Ok(FirstPacket::GssEncryption) if !gss_asked && !matches!(io, AppStream::Tls(_)) => {
                gss_asked = true;
                io.write_all(b"N").await?;
            }
            Ok(FirstPacket::Cancel(key)) => return Ok(Hello::Cancel(key, io)),
            Ok(FirstPacket::Startup(startup)) => {
                if startup.minor > MINOR_MAX || !startup.extensions.is_empty() {
                    let mut out = Vec::new();
                    negotiate_protocol_version(&mut out, &startup);
                    io.write_all(&out).await?;
                }
                return Ok(Hello::Session(startup, io));
            }
            refused => return refuse(io, refused.ok()).await,
        }
    }
}

/// Reads one packet without its length, never a byte more; `None` when there is none.
async fn read_packet(io: &mut AppStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match io.read_exact(&mut length).await {
        Ok(_) => {}
        // A health check, or a client that changed its mind: no error, no log.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    // At least the code that says what it asks for.
    let length = (u32::from_be_bytes(length) as usize).checked_sub(4);
    let Some(length) = length.filter(|length| (4..=STARTUP_BYTES_MAX).contains(length)) else {
        tracing::debug!(?length, "first packet of an impossible length");
        return Ok(None);
    };
    let mut packet = vec![0; length];
    io.read_exact(&mut packet).await?;
    Ok(Some(packet))
}

async fn answer_tls(io: &mut AppStream, acceptor: Option<&ClientAcceptor>) -> io::Result<()> {
    match acceptor {
        Some(acceptor) => {
            io.write_all(b"S").await?;
            io.begin_tls(acceptor).await
        }
        None => io.write_all(b"N").await,
    }
}

/// Says why in the server's own words, and ends.
async fn refuse(mut io: AppStream, packet: Option<FirstPacket>) -> io::Result<Hello> {
    let unsupported = |major: u16, minor: u16| ClientError {
        sqlstate: "0A000".into(),
        message: format!(
            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}"
        ),
        detail: None,
        hint: None,
    };
    let error = match packet {
        Some(FirstPacket::Unsupported { major, minor }) => unsupported(major, minor),
        // A second request for encryption is read as a protocol version, as the server does.
        Some(FirstPacket::Ssl) => unsupported(1234, 5679),
        Some(FirstPacket::GssEncryption) => unsupported(1234, 5680),
        Some(FirstPacket::Cancel(_) | FirstPacket::Startup(_)) | None => ClientError {
            sqlstate: "08P01".into(),
            message: "invalid startup packet layout: expected terminator as last byte".into(),
            detail: None,
            hint: None,
        },
    };
    fatal(&mut io, &error).await?;
    Ok(Hello::Gone)
}

/// Sends a FATAL error and says goodbye.
pub async fn fatal(io: &mut AppStream, error: &ClientError) -> io::Result<()> {
    let mut out = Vec::new();
    put_error(&mut out, Severity::Fatal, error);
    io.write_all(&out).await?;
    io.shutdown().await
}

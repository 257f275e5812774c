//! The handshake: what both sides say before the first command (MySQL manual, "Connection Phase"; protocol.md C.1-C.3).

use super::capability::Capabilities;
use super::lenenc::ReadLenenc;
use super::lenenc::put_lenenc;
use super::lenenc::put_lenenc_bytes;
use crate::wire::Malformed;
use crate::wire::Reader;
use crate::wire::put_cstr;

/// The only version of the greeting since MySQL 3.21.
const PROTOCOL_VERSION: u8 = 10;
/// An SSLRequest is the first so many bytes of a handshake response.
const SSL_REQUEST_BYTES: usize = 32;
/// Bytes of a scramble without its NUL.
pub const SCRAMBLE_BYTES: usize = 20;
/// The scramble's bytes that stand before the capabilities.
const SCRAMBLE_PART_1: usize = 8;

/// 20 bytes, none of them NUL, all of them ASCII: some clients treat it as text.
pub type Scramble = [u8; SCRAMBLE_BYTES];

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Clients choose dialects by it.
    pub version: Vec<u8>,
    /// What KILL names.
    pub thread_id: u32,
    /// What the first digest is made with.
    pub scramble: Vec<u8>,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// The server's default collation, low byte.
    pub charset: u8,
    /// Status flags.
    pub status: u16,
    /// The authentication plugin the server expects of most of its users.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Reads a payload. Servers before 4.1, and those that speak another version of the protocol, are malformed.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != PROTOCOL_VERSION {
            return Err(Malformed);
        }
        let version = reader.cstr()?.to_vec();
        let thread_id = reader.u32_le()?;
        let mut scramble = reader.take(SCRAMBLE_PART_1)?.to_vec();
        reader.u8()?;
        let low = u32::from(reader.u16_le()?);
        let charset = reader.u8()?;
        let status = reader.u16_le()?;
        let mysql = low | u32::from(reader.u16_le()?) << 16;
        let scramble_bytes = usize::from(reader.u8()?);
        reader.take(6)?;
        let mariadb = reader.u32_le()?;
        let capabilities = capabilities(mysql, mariadb);
        // "Rest of the plugin provided data, $len=MAX(13, length of auth-plugin-data - 8)", its NUL included.
        let rest = reader.take(scramble_bytes.saturating_sub(SCRAMBLE_PART_1).max(13))?;
        scramble.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
        Ok(Self {
            version,
            thread_id,
            scramble,
            capabilities,
            charset,
            status,
            plugin: text_to_end(&mut reader).to_vec(),
        })
    }

    /// Appends the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (part_1, part_2) = self
            .scramble
            .split_at_checked(SCRAMBLE_PART_1)
            .unwrap_or((&self.scramble, &[]));
        let [a, b, c, d] = self.capabilities.mysql().to_le_bytes();
        out.push(PROTOCOL_VERSION);
        put_cstr(out, &self.version);
        out.extend_from_slice(&self.thread_id.to_le_bytes());
        out.extend_from_slice(part_1);
        out.extend_from_slice(&[0, a, b, self.charset]);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&[c, d]);
        out.push(u8::try_from(self.scramble.len() + 1).unwrap_or(u8::MAX));
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.capabilities.mariadb().to_le_bytes());
        put_cstr(out, part_2);
        put_cstr(out, &self.plugin);
    }
}

/// What a client answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// What the client can do and asks for.
    pub capabilities: Capabilities,
    /// The longest packet the client takes.
    pub packet_max: u32,
    /// The collation the session starts with, low byte of its id.
    pub charset: u8,
    /// The user.
    pub user: Vec<u8>,
    /// A digest, or another first message of the plugin.
    pub auth: Vec<u8>,
    /// The database to begin in; empty: none.
    pub database: Vec<u8>,
    /// The plugin that made `auth`, where the client names one.
    pub plugin: Option<Vec<u8>>,
    /// What the client tells of itself.
    pub attributes: Attributes,
}

/// Connection attributes, as sent.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// What can come first from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstPacket {
    /// A client that does not speak the 4.1 protocol.
    Old,
    /// The whole answer.
    Response(Response),
    /// TLS first; the answer comes inside.
    Ssl,
}

impl FirstPacket {
    /// Reads a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let low = Reader::new(payload).u16_le()?;
        if !Capabilities::new(low.into(), 0).contains(Capabilities::PROTOCOL_41) {
            return Ok(Self::Old);
        }
        let mut reader = Reader::new(payload);
        let mysql = reader.u32_le()?;
        let packet_max = reader.u32_le()?;
        let charset = reader.u8()?;
        reader.take(19)?;
        let capabilities = capabilities(mysql, reader.u32_le()?);
        if payload.len() == SSL_REQUEST_BYTES && capabilities.contains(Capabilities::SSL) {
            return Ok(Self::Ssl);
        }
        let user = reader.cstr()?.to_vec();
        let auth = if capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            reader.lenenc_bytes()?
        } else {
            short_auth(&mut reader, capabilities)?
        }
        .to_vec();
        let database = if capabilities.contains(Capabilities::CONNECT_WITH_DB) {
            text_to_end(&mut reader).to_vec()
        } else {
            Vec::new()
        };
        Ok(Self::Response(Response {
            capabilities,
            packet_max,
            charset,
            user,
            auth,
            database,
            plugin: plugin(&mut reader, capabilities),
            attributes: attributes(&mut reader, capabilities)?,
        }))
    }
}

impl Response {
    /// Appends the payload, for a server with these `capabilities` among its own.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_ssl_request(out, self.capabilities, self.packet_max, self.charset);
        put_cstr(out, &self.user);
        if self
            .capabilities
            .contains(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
        {
            put_lenenc_bytes(out, &self.auth);
        } else {
            // Digests have 32 bytes at most.
            out.push(u8::try_from(self.auth.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(&self.auth);
        }
        if self.capabilities.contains(Capabilities::CONNECT_WITH_DB) {
            put_cstr(out, &self.database);
        }
        if let Some(plugin) = &self.plugin {
            put_cstr(out, plugin);
        }
        if self.capabilities.contains(Capabilities::CONNECT_ATTRS) {
            let mut block = Vec::new();
            for (name, value) in &self.attributes {
                put_lenenc_bytes(&mut block, name);
                put_lenenc_bytes(&mut block, value);
            }
            put_lenenc(out, block.len() as u64);
            out.extend_from_slice(&block);
        }
    }
}

/// Appends what an SSLRequest consists of, and a handshake response begins with.
pub fn put_ssl_request(
    out: &mut Vec<u8>,
    capabilities: Capabilities,
    packet_max: u32,
    charset: u8,
) {
    out.extend_from_slice(&capabilities.mysql().to_le_bytes());
    out.extend_from_slice(&packet_max.to_le_bytes());
    out.push(charset);
    out.extend_from_slice(&[0; 19]);
    out.extend_from_slice(&capabilities.mariadb().to_le_bytes());
}

/// COM_CHANGE_USER: a handshake response without its head.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeUser {
    /// The user.
    pub user: Vec<u8>,
    /// A digest.
    pub auth: Vec<u8>,
    /// The database; empty: none.
    pub database: Vec<u8>,
    /// The collation, where it is sent.
    pub charset: Option<u8>,
    /// The plugin that made `auth`, where the client names one.
    pub plugin: Option<Vec<u8>>,
    /// What the client tells of itself.
    pub attributes: Attributes,
}

impl ChangeUser {
    /// Reads the payload after the command byte, from a client that negotiated these `capabilities`.
    pub fn parse(payload: &[u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let user = reader.cstr()?.to_vec();
        let auth = short_auth(&mut reader, capabilities)?.to_vec();
        let database = text_to_end(&mut reader).to_vec();
        let charset = match reader.u16_le() {
            Ok(collation) => Some(collation.to_le_bytes()[0]),
            Err(Malformed) => None,
        };
        Ok(Self {
            user,
            auth,
            database,
            charset,
            plugin: plugin(&mut reader, capabilities),
            attributes: attributes(&mut reader, capabilities)?,
        })
    }
}

/// MariaDB's extended capabilities are there only where bit 0 is not (`CLIENT_MYSQL`).
fn capabilities(mysql: u32, mariadb: u32) -> Capabilities {
    let plain = Capabilities::new(mysql, 0);
    if plain.contains(Capabilities::LONG_PASSWORD) {
        plain
    } else {
        Capabilities::new(mysql, mariadb)
    }
}

fn short_auth<'a>(
    reader: &mut Reader<'a>,
    capabilities: Capabilities,
) -> Result<&'a [u8], Malformed> {
    if capabilities.contains(Capabilities::SECURE_CONNECTION) {
        let length = reader.u8()?;
        reader.take(length.into())
    } else {
        reader.cstr()
    }
}

fn plugin(reader: &mut Reader<'_>, capabilities: Capabilities) -> Option<Vec<u8>> {
    let named = capabilities.contains(Capabilities::PLUGIN_AUTH) && !reader.is_empty();
    named.then(|| text_to_end(reader).to_vec())
}

fn attributes(
    reader: &mut Reader<'_>,
    capabilities: Capabilities,
) -> Result<Attributes, Malformed> {
    let mut found = Attributes::new();
    if !capabilities.contains(Capabilities::CONNECT_ATTRS) || reader.is_empty() {
        return Ok(found);
    }
    let mut block = Reader::new(reader.lenenc_bytes()?);
    while !block.is_empty() {
        let name = block.lenenc_bytes()?.to_vec();
        found.push((name, block.lenenc_bytes()?.to_vec()));
    }
    Ok(found)
}

/// Text that ends with a NUL, or with the packet: some clients leave the last NUL out (MySQL bug 59453).
fn text_to_end<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    if let Ok(text) = reader.cstr() {
        return text;
    }
    let rest = reader.rest();
    *reader = Reader::new(&[]);
    rest
}

/// `auth` is not shown: mysql_clear_password would be a password.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// As for [`Response`].
impl std::fmt::Debug for ChangeUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeUser")
            .field("user", &String::from_utf8_lossy(&self.user))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

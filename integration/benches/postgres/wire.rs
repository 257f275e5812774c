//! The smallest PostgreSQL client: no TLS, no password, one query. A thousand of them cost this process next to nothing.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

const SECONDS_MAX: u64 = 60;
/// Protocol 3.0 (PostgreSQL manual, 55.7 Message Formats, StartupMessage).
const PROTOCOL: u32 = 196_608;

/// A connection that is ready for a query.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects to a proxy that asks for no password.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(SECONDS_MAX)))?;
        let mut client = Self { stream };
        let mut startup = PROTOCOL.to_be_bytes().to_vec();
        startup.extend_from_slice(b"user\0pw_app\0database\0app\0\0");
        let length = u32::try_from(startup.len() + 4)?;
        client
            .stream
            .write_all(&[&length.to_be_bytes(), startup.as_slice()].concat())?;
        client.until_ready()?;
        Ok(client)
    }

    /// `select 1`.
    pub fn query(&mut self) -> Result<()> {
        self.stream.write_all(b"Q\0\0\0\x0dselect 1\0")?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<()> {
        loop {
            let mut header = [0; 5];
            self.stream
                .read_exact(&mut header)
                .context("read a message")?;
            let [kind, length @ ..] = header;
            let mut body = vec![0; usize::try_from(u32::from_be_bytes(length))?.saturating_sub(4)];
            self.stream.read_exact(&mut body)?;
            match kind {
                b'Z' => return Ok(()),
                b'E' => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }
}

//! Connects to an upstream and asks it for nothing: `attache check --live`.

use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::AsyncReadExt;

use super::bulkhead::Permit;
use super::{ConnectError, ExchangeErrorKind, Upstream, tls};

/// How long a server has to take back what it agreed to. In TLS 1.3 a client certificate is refused only after the
/// client's side of the handshake is done (RFC 8446 section 4.4.2.4), so that it shows in the first read.
const SECOND_THOUGHTS: Duration = Duration::from_millis(300);

/// What connecting has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// `None` through an egress proxy.
    pub address: Option<IpAddr>,
    /// The version of TLS; `None` in cleartext.
    pub tls: Option<ProtocolVersion>,
    pub http2: bool,
    /// Name, TCP and TLS together.
    pub took: Duration,
}

impl Upstream {
    /// Opens a connection as a request would, within `timeout`, and closes it unused. Takes 300 ms longer than that.
    ///
    /// # Errors
    /// As [`super::Connector::connect`] has, and where the server closes at once or does not speak what is configured.
    pub async fn probe(&self, timeout: Duration) -> Result<Probed, ConnectError> {
        let mut opened =
            self.opener.connector.open(&self.opener.target, timeout, ready(Ok(Permit::of_the_reserve()))).await?;
        let http2 = self.opener.speaks_http2(&opened.connection)?;
        let read = tokio::time::timeout(SECOND_THOUGHTS, opened.connection.read_u8()).await;
        if let Ok(Err(error)) = read {
            return Err(self.thought_better(&error));
        }
        Ok(Probed { address: opened.address, tls: opened.connection.tls_version(), http2, took: opened.took })
    }

    fn thought_better(&self, error: &io::Error) -> ConnectError {
        let url = &self.opener.target.url;
        match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            true => tls::failed(url, error),
            false => {
                let text = format!("connecting to {}:{}: it closed the connection at once", url.host, url.port);
                ConnectError::new(ExchangeErrorKind::Closed, text)
            }
        }
    }
}

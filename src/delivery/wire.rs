//! How to reach an SMTP server: the URL forms of `mail.servers`, TCP without delay, TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{AsyncTokioStream, TlsParameters};
use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing is encrypted: for a relay on the same machine or network.
    Plain,
    /// Encryption is begun, and insisted on, after EHLO.
    StartTls,
    /// TLS from the first byte.
    Implicit,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerUrlError {
    #[error(
        "mail.servers[{index}] is not a URL like smtp://host:25, smtp+starttls://user:password@host:587 or smtps://user:password@host:465"
    )]
    Form { index: usize },
    #[error("mail.servers[{index}] has a user but no password, or the reverse")]
    Credentials { index: usize },
    #[error("mail.servers[{index}]: a password must not be sent in the clear; use smtp+starttls:// or smtps://")]
    PlainPassword { index: usize },
    #[error("mail.servers[{index}]: TLS cannot be set up: {why}")]
    Tls { index: usize, why: String },
}

/// One entry of `mail.servers`. Shown as `host:port`; user and password never are.
#[derive(Clone)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub(super) credentials: Option<Credentials>,
    pub(super) starttls: Option<TlsParameters>,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self}, {:?})", self.security)
    }
}

impl Server {
    /// Reads the entry at `index`. Passwords over plain SMTP are refused except to loopback.
    pub fn parse(index: usize, text: &str, accept_invalid_certificates: bool) -> Result<Self, ServerUrlError> {
        let url = url::Url::parse(text).map_err(|_| ServerUrlError::Form { index })?;
        let (security, default_port) = match url.scheme() {
            "smtp" => (Security::Plain, 25),
            "smtp+starttls" => (Security::StartTls, 587),
            "smtps" => (Security::Implicit, 465),
            _ => return Err(ServerUrlError::Form { index }),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(ServerUrlError::Form { index });
        }
        let decode =
            |text: &str| percent_decode_str(text).decode_utf8().map(|t| t.into_owned()).map_err(|_| ServerUrlError::Form { index });
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) if !user.is_empty() => Some(Credentials::new(decode(user)?, decode(password)?)),
            _ => return Err(ServerUrlError::Credentials { index }),
        };
        let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if credentials.is_some() && security == Security::Plain && !loopback {
            return Err(ServerUrlError::PlainPassword { index });
        }
        let why = |why: String| ServerUrlError::Tls { index, why };
        let starttls = match security {
            Security::StartTls => Some(
                TlsParameters::builder(host.clone())
                    .dangerous_accept_invalid_certs(accept_invalid_certificates)
                    .build_rustls()
                    .map_err(|e| why(e.to_string()))?,
            ),
            _ => None,
        };
        let tls = match security {
            Security::Implicit => {
                let name = ServerName::try_from(host.clone()).map_err(|e| why(e.to_string()))?;
                Some((tls_config(accept_invalid_certificates).map_err(|e| why(e.to_string()))?, name))
            }
            _ => None,
        };
        Ok(Self { host, port: url.port().unwrap_or(default_port), security, credentials, starttls, tls })
    }

    /// Opens the TCP connection (and TLS where it comes first).
    pub(super) async fn dial(&self) -> io::Result<Wire> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // Body and final dot are two writes: with Nagle's algorithm on, each mail would wait for a delayed ACK (about 40 ms).
        tcp.set_nodelay(true)?;
        Ok(match &self.tls {
            Some((config, name)) => {
                let tls = tokio_rustls::TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?;
                Wire::Tls(Box::new(tls))
            }
            None => Wire::Plain { tcp, stepwise: self.security == Security::StartTls },
        })
    }
}

fn tls_config(accept_invalid: bool) -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let config = if accept_invalid {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider))).with_no_client_auth()
    } else {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    Ok(Arc::new(config))
}

/// `mail.accept_invalid_certificates`: any certificate will do, but the server must still hold its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// The stream handed to the SMTP library.
#[derive(Debug)]
pub(super) enum Wire {
    Plain {
        tcp: TcpStream,
        /// Read byte by byte until TLS begins, so that nothing sent in the clear behind the answer to STARTTLS is buffered and later
        /// taken for something that came through TLS.
        stepwise: bool,
    },
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain { tcp, .. } => tcp.peer_addr(),
            Self::Tls(tls) => tls.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, stepwise: true } => {
                let mut one = [0_u8; 1];
                let mut small = ReadBuf::new(&mut one);
                let polled = Pin::new(tcp).poll_read(cx, &mut small);
                if matches!(polled, Poll::Ready(Ok(()))) {
                    buf.put_slice(small.filled());
                }
                polled
            }
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { tcp, stepwise } => {
                if bytes.first() == Some(&TLS_HANDSHAKE) {
                    *stepwise = false;
                }
                Pin::new(tcp).poll_write(cx, bytes)
            }
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_url_forms() {
        let s = Server::parse(0, "smtp://relay.example.test", false).expect("plain");
        assert_eq!((s.to_string().as_str(), s.security, s.credentials.is_some()), ("relay.example.test:25", Security::Plain, false));
        let s = Server::parse(0, "smtp+starttls://me%40example.test:p%3Aw@relay.example.test", false).expect("starttls");
        assert_eq!((s.port, s.security, s.starttls.is_some()), (587, Security::StartTls, true));
        assert_eq!(s.credentials, Some(Credentials::new("me@example.test".into(), "p:w".into())));
        assert!(!format!("{s:?} {s}").contains("p:w"));
        let s = Server::parse(0, "smtps://u:p@[::1]:4650", false).expect("implicit");
        assert_eq!((s.host.as_str(), s.port, s.tls.is_some()), ("::1", 4650, true));
    }

    #[test]
    fn refuses_what_it_does_not_understand_or_what_leaks() {
        for bad in ["", "relay.example.test", "http://relay.example.test", "smtp://", "smtp://h/path", "smtp://h?x=1"] {
            assert!(matches!(Server::parse(3, bad, false), Err(ServerUrlError::Form { index: 3 })), "{bad}");
        }
        assert!(matches!(Server::parse(0, "smtps://user@h.example.test", false), Err(ServerUrlError::Credentials { .. })));
        assert!(matches!(Server::parse(0, "smtp://u:p@h.example.test", false), Err(ServerUrlError::PlainPassword { .. })));
        assert!(Server::parse(0, "smtp://u:p@127.0.0.1:2525", false).is_ok());
    }
}

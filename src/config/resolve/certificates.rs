//! Certificates and private keys, from PEM files.

use std::ops::Range;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::fields::{Fields, Text};
use super::{Load, Reading, Why, disk};
use crate::config::{CertificateAndKey, Problem};

/// All the roots of a system are a quarter of this.
const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A chain and its key: `{ cert = "…", key = "…" }`.
pub(super) fn certificate_and_key(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<CertificateAndKey> {
    let cert = fields.text(reading, "cert");
    let key = fields.text(reading, "key");
    let (cert, key) = (cert?, key?);
    if reading.how == Load::WithoutSecrets {
        // Where no secret is to be read, the files of a key are usually not there, and a chain goes with its key.
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(Vec::new()));
        return Some(CertificateAndKey { chain: Vec::new(), key });
    }
    let chain = certificates(reading, &cert);
    let key = private_key(reading, &key);
    let (chain, key) = (chain?, key?);
    matches(reading, &chain, &key, &cert, fields.span.clone())?;
    Some(CertificateAndKey { chain, key })
}

/// The roots of a `ca` file.
pub(super) fn roots(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let Some(path) = fields.text(reading, "ca") else {
        // Absent, or reported.
        return fields.value("ca").is_none().then(Vec::new);
    };
    let roots = certificates(reading, &path)?;
    for root in &roots {
        if let Err(error) = webpki::anchor_from_trusted_cert(root) {
            let message = format!("{} holds a certificate that cannot be a root: {error}", path.value);
            reading.problem(Problem::new(message, path.span.clone()).hint("is this the certificate of an authority?"));
            return None;
        }
    }
    Some(roots)
}

fn certificates(reading: &mut Reading<'_>, path: &Text) -> Option<Vec<CertificateDer<'static>>> {
    let file = reading.path(&path.value);
    reading.watched.insert(file.clone());
    let bytes = match disk::read(&file, PEM_FILE_BYTES_MAX) {
        Ok((bytes, _)) => bytes,
        Err(why) => return reading.refuse(why, &path.span),
    };
    let parsed: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match parsed {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            let why = format!("{} holds no certificate", file.display());
            reading.refuse((why, "a PEM file has `-----BEGIN CERTIFICATE-----` in it".into()), &path.span)
        }
        Err(error) => {
            let why = format!("{} is no PEM file: {error}", file.display());
            reading.refuse((why, "each certificate stands between a BEGIN and an END line".into()), &path.span)
        }
    }
}

fn private_key(reading: &mut Reading<'_>, path: &Text) -> Option<PrivateKeyDer<'static>> {
    let file = reading.path(&path.value);
    reading.watched.insert(file.clone());
    let read = match disk::read_secret(&file, PEM_FILE_BYTES_MAX) {
        Ok(read) => read,
        Err(why) => return reading.refuse(why, &path.span),
    };
    if read.world_readable {
        let message = format!("{} holds a private key, and everybody on this machine can read it", file.display());
        reading.warning(Problem::new(message, path.span.clone()).hint(format!("run `chmod o-r {}`", file.display())));
    }
    match PrivateKeyDer::from_pem_slice(&read.bytes) {
        Ok(key) => Some(key),
        // The error may quote the file.
        Err(_) => {
            let why = format!("{} holds no private key", file.display());
            let hint =
                "a PEM file has `-----BEGIN PRIVATE KEY-----` in it; a key with a passphrase has to be decrypted";
            reading.refuse((why, hint.into()), &path.span)
        }
    }
}

/// Whether rustls can use both, and they belong together.
fn matches(
    reading: &mut Reading<'_>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    cert: &Text,
    span: Range<usize>,
) -> Option<()> {
    if let Err(error) = webpki::EndEntityCert::try_from(&chain[0]) {
        let why = format!("{} begins with a certificate that cannot be read: {error}", cert.value);
        return reading.refuse((why, "is it damaged?".into()), &cert.span);
    }
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider) {
        Ok(_) => Some(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let why = "the private key does not belong to the certificate".to_owned();
            let hint = "the first certificate of the file has to be the one that was issued for this key";
            reading.refuse((why, hint.into()), &span)
        }
        Err(error) => {
            let why = format!("this certificate and key cannot be used: {error}");
            reading.refuse((why, "RSA, ECDSA and Ed25519 keys are supported".into()), &span)
        }
    }
}

impl Reading<'_> {
    /// Reports a message with its hint; the value that could not be had.
    pub(super) fn refuse<T>(&mut self, (message, hint): Why, span: &Range<usize>) -> Option<T> {
        self.problem(Problem::new(message, span.clone()).hint(hint));
        None
    }
}

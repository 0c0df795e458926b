//! Certificates for one server.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Where the certificates of a server lie.
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("server.pem"),
            key: folder.join("server-key.pem"),
        }
    }
}

/// Writes an authority and a certificate for `127.0.0.1` and `localhost` that it signed.
pub(crate) fn write_certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names to be wrong");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key can be made");
    let authority_pem = authority
        .self_signed(&authority_key)
        .expect("the parameters are complete")
        .pem();
    let issuer = Issuer::new(authority, authority_key);

    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = CertificateParams::new(names)
        .expect("both names are valid")
        .signed_by(&key, &issuer)
        .expect("the parameters are complete");

    let files = Files::in_folder(folder);
    for (path, text) in [
        (files.authority, authority_pem),
        (files.certificate, certificate.pem()),
        (files.key, key.serialize_pem()),
    ] {
        std::fs::write(path, text).expect("the temporary folder can be written");
    }
}

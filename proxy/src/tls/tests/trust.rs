//! Whom the server's certificate may come from.

use std::sync::LazyLock;

use rcgen::BasicConstraints;
use rcgen::IsCa;
use rustls::RootCertStore;

use super::pki::Authority;
use super::pki::Leaf;
use super::pki::refused;
use crate::fault::Blame;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::tls::TlsError;
use crate::tls::Unknown;
use crate::tls::UpstreamTls;
use crate::tls::roots;

const HOST: &str = "db.example.org";

#[tokio::test]
async fn an_unknown_authority_is_named() {
    let (known, unknown) = (Authority::new("Known CA"), Authority::new("Unknown CA"));
    let error = refused(&unknown.server(&[HOST]), &known.trusted(), HOST).await;
    assert_eq!(
        (error.blame(), error.retry()),
        (Blame::Config, Retry::Never)
    );
    let told = error.for_client();
    assert_eq!(told.sqlstate, "08001");
    assert_eq!(
        told.message,
        "the certificate of db.example.org is signed by an unknown authority"
    );
    assert_eq!(
        told.detail.as_deref(),
        Some("certificate of CN=test server, issued by CN=Unknown CA")
    );
    assert_eq!(
        told.hint.as_deref(),
        Some(
            "set tls_ca_file (RDS_SIDECAR_TLS_CA_FILE) to a PEM file with the certificate of the authority \
             CN=Unknown CA"
        )
    );
    unknown
        .server(&[HOST])
        .shake(&unknown.trusted(), HOST)
        .await
        .expect("the hint works");
}

#[tokio::test]
async fn without_a_file_nobody_but_amazon_and_the_system_is_trusted() {
    let authority = Authority::new("Amazon RDS mx-central-1 Root CA RSA2048 G1");
    let host = "db.abc.mx-central-1.rds.amazonaws.com";
    let told = refused(
        &authority.server(&[host]),
        &UpstreamTls::new(None).unwrap(),
        host,
    )
    .await
    .for_client();
    assert!(
        told.hint
            .unwrap()
            .contains("/mx-central-1/mx-central-1-bundle.pem")
    );
}

#[tokio::test]
async fn a_self_signed_server_is_trusted_by_its_own_certificate_only() {
    let server = Leaf::self_signed(&[HOST], |_| ());
    let told = refused(&server, &Authority::new("Test CA").trusted(), HOST)
        .await
        .for_client();
    assert_eq!(
        told.detail.as_deref(),
        Some("certificate of CN=test server, signed by itself")
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.pem");
    std::fs::write(&file, &server.certificate).unwrap();
    server
        .shake(&UpstreamTls::new(Some(&file)).unwrap(), HOST)
        .await
        .expect("as the hint says");
}

#[tokio::test]
async fn an_authority_as_server_is_refused_with_the_reason() {
    let server = Leaf::self_signed(&[HOST], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.pem");
    std::fs::write(&file, &server.certificate).unwrap();
    let error = refused(&server, &UpstreamTls::new(Some(&file)).unwrap(), HOST).await;
    assert!(matches!(error, TlsError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("CaUsedAsEndEntity"), "{error}");
    assert!(error.for_client().hint.unwrap().contains("CA:FALSE"));
}

/// A sandbox made anew, and a file from before.
#[tokio::test]
async fn an_authority_made_anew_is_told_from_an_unknown_one() {
    let (old, new) = (Authority::new("Sandbox CA"), Authority::new("Sandbox CA"));
    let error = refused(&new.server(&[HOST]), &old.trusted(), HOST).await;
    assert!(
        matches!(
            error,
            TlsError::UnknownCa {
                how: Unknown::Key,
                ..
            }
        ),
        "{error:?}"
    );
    let told = error.for_client();
    assert!(
        told.detail
            .unwrap()
            .ends_with("an authority of that name is trusted, but its key is another")
    );
    assert!(
        told.hint
            .unwrap()
            .contains("to the present certificate of CN=Sandbox CA")
    );
}

#[tokio::test]
async fn the_system_is_asked_about_those_nobody_else_knows() {
    let authority = Authority::new("Known CA");
    let known = || roots::known(Some(&authority.file())).unwrap();
    let unasked =
        UpstreamTls::trusting(known(), || panic!("not read for a server that is known")).unwrap();
    authority
        .server(&[HOST])
        .shake(&unasked, HOST)
        .await
        .unwrap();
    let error = refused(&authority.server(&["other.example.org"]), &unasked, HOST).await;
    assert!(
        matches!(error, TlsError::WrongName { .. }),
        "nor for a wrong name"
    );

    let tls = UpstreamTls::trusting(known(), system_store).unwrap();
    system_authority()
        .server(&[HOST])
        .shake(&tls, HOST)
        .await
        .expect("the system vouches for it");
    let error = refused(
        &system_authority().server(&["other.example.org"]),
        &tls,
        HOST,
    )
    .await;
    assert!(
        matches!(&error, TlsError::WrongName { presented, .. } if presented == &["other.example.org"])
    );
    let error = refused(&Authority::new("Unknown CA").server(&[HOST]), &tls, HOST).await;
    assert!(matches!(&error, TlsError::UnknownCa { issuer, .. } if issuer == "CN=Unknown CA"));

    let bare = UpstreamTls::trusting(known(), RootCertStore::empty).unwrap();
    let error = refused(&system_authority().server(&[HOST]), &bare, HOST).await;
    assert!(
        matches!(
            error,
            TlsError::UnknownCa {
                how: Unknown::Name,
                ..
            }
        ),
        "no store is no other error"
    );
}

/// An authority of one's own that bears a name from the system's store takes nothing away from the latter.
#[tokio::test]
async fn a_namesake_does_not_hide_the_systems_authority() {
    let namesake = Authority::new("System CA");
    let tls =
        UpstreamTls::trusting(roots::known(Some(&namesake.file())).unwrap(), system_store).unwrap();
    namesake.server(&[HOST]).shake(&tls, HOST).await.unwrap();
    system_authority()
        .server(&[HOST])
        .shake(&tls, HOST)
        .await
        .unwrap();
}

/// The same one at every call, as a system's store is.
fn system_authority() -> &'static Authority {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("System CA"));
    &AUTHORITY
}

fn system_store() -> RootCertStore {
    roots::known(Some(&system_authority().file())).unwrap()
}

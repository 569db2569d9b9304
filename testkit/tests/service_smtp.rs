//! The real mail server starts with each kind of encryption, checks who sends,
//! takes mails, refuses as scripted, and ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lettre::{
    Message, SmtpTransport, Transport as _,
    message::header::ContentType,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use tidewatch_testkit::{
    Service, require,
    smtp::{MailServer, Security},
};

fn message(subject: &str) -> Message {
    Message::builder()
        .from("tidewatch@example.org".parse().unwrap())
        .to("ops@example.org".parse().unwrap())
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body("CPU über 90 %\n".to_owned())
        .unwrap()
}

fn client(server: &MailServer, security: Security, password: &str, trusted: bool) -> SmtpTransport {
    let tls = || {
        let mut parameters = TlsParameters::builder(server.host().to_owned());
        if trusted {
            let pem = server.authority_pem().unwrap();
            let authority = Certificate::from_pem(pem.as_bytes()).unwrap();
            parameters = parameters.add_root_certificate(authority);
        }
        parameters.build().unwrap()
    };
    let tls = match security {
        Security::Plain => Tls::None,
        Security::StartTls => Tls::Required(tls()),
        Security::Tls => Tls::Wrapper(tls()),
    };
    SmtpTransport::builder_dangerous(server.host())
        .port(server.port())
        .tls(tls)
        .credentials(Credentials::new(MailServer::USER.into(), password.into()))
        .build()
}

#[test]
fn mails_arrive_over_each_kind_of_connection() {
    if require(Service::Smtp).is_none() {
        return;
    }
    for security in [Security::Plain, Security::StartTls, Security::Tls] {
        let server = MailServer::start(security).unwrap();
        let sent = client(&server, security, MailServer::PASSWORD, true).send(&message("alert"));
        assert!(sent.is_ok(), "{security:?}: {sent:?}");
        let [mail] = server.received().try_into().unwrap();
        assert_eq!(mail.encrypted, security != Security::Plain, "{security:?}");
        assert_eq!((mail.user.as_str(), mail.subject()), (MailServer::USER, "alert"));
        assert_eq!(mail.recipients, ["ops@example.org"]);
        assert_eq!(mail.text.unwrap().trim_end(), "CPU über 90 %");
    }
}

#[test]
fn a_wrong_password_and_an_unknown_certificate_are_refused() {
    if require(Service::Smtp).is_none() {
        return;
    }
    let server = MailServer::start(Security::StartTls).unwrap();
    let wrong = client(&server, Security::StartTls, "wrong", true).send(&message("a"));
    assert!(wrong.is_err_and(|error| error.is_permanent()));
    let unknown = client(&server, Security::StartTls, MailServer::PASSWORD, false);
    assert!(unknown.send(&message("a")).is_err());
    let unencrypted = client(&server, Security::Plain, MailServer::PASSWORD, true);
    assert!(unencrypted.send(&message("a")).is_err());
    assert_eq!(server.received(), []);
}

#[test]
fn scripted_refusals_come_first() {
    if require(Service::Smtp).is_none() {
        return;
    }
    let server = MailServer::start(Security::Tls).unwrap();
    server.refuse_next(&["451 4.3.0 try again later", "554 5.7.1 not wanted"]).unwrap();
    let client = client(&server, Security::Tls, MailServer::PASSWORD, true);
    assert!(client.send(&message("1")).is_err_and(|error| error.is_transient()));
    assert!(client.send(&message("2")).is_err_and(|error| error.is_permanent()));
    assert!(client.send(&message("3")).is_ok());
    let subjects: Vec<String> =
        server.received().iter().map(|mail| mail.subject().to_owned()).collect();
    assert_eq!(subjects, ["3"]);
    let port = server.port();
    drop(server);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it still listens");
}

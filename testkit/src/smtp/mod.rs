//! A real mail server, with authentication and each kind of encryption.
//!
//! Its certificate is made at each start, for `localhost` and `127.0.0.1`, and
//! signed by an authority of its own: a client has to be told to trust
//! [`MailServer::authority_pem`], and a test can check that it refuses otherwise.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{Error, Result, Service, process::Process, run_folder::RunFolder, wait_for};

/// How long a start may take: less than a second on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The server's program, run by Python.
const PROGRAM: &str = include_str!("server.py");

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// After the command `STARTTLS`, without which nothing else is accepted.
    StartTls,
    /// From its first byte.
    Tls,
}

impl Security {
    const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::StartTls => "starttls",
            Self::Tls => "tls",
        }
    }
}

/// A mail that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// The authenticated user.
    pub user: String,
    /// Decoded header fields in their order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The decoded plain text, if there is one.
    pub text: Option<String>,
    /// The decoded HTML text, if there is one.
    pub html: Option<String>,
    /// The message as it came.
    pub raw: String,
}

impl Mail {
    /// The first value of a header field; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The decoded subject; empty if there is none.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.header("subject").unwrap_or_default()
    }

    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        Some(Self {
            sender: text(&value["sender"])?,
            recipients: list(&value["recipients"]).iter().filter_map(text).collect(),
            encrypted: value["encrypted"].as_bool()?,
            user: text(&value["user"])?,
            headers: list(&value["headers"])
                .iter()
                .filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)))
                .collect(),
            text: text(&value["text"]),
            html: text(&value["html"]),
            raw: text(&value["raw"])?,
        })
    }
}

/// A running mail server; ended when dropped. Cheap: each test starts its own.
#[derive(Debug)]
pub struct MailServer {
    // Before the folder: the process has to be gone when its files are removed.
    _process: Process,
    folder: RunFolder,
    port: u16,
}

impl MailServer {
    /// The user that may send.
    pub const USER: &'static str = "tidewatch";
    /// The user's password.
    pub const PASSWORD: &'static str = "correct horse";

    /// Starts it.
    ///
    /// # Errors
    /// If it is not in the cache, openssl is missing, or it does not listen.
    pub fn start(security: Security) -> Result<Self> {
        let installed = Service::Smtp.installed()?;
        let python = Service::Smtp.program("python")?;
        let folder = RunFolder::new("smtp")?;
        folder.write("user", Self::USER)?;
        folder.write("password", Self::PASSWORD)?;
        if security != Security::Plain {
            make_certificate(&folder)?;
        }
        let program = folder.write("server.py", PROGRAM)?;
        let mut command = Command::new(python);
        command.arg(program).arg(folder.path()).arg(security.word());
        command.env("PYTHONPATH", installed.join("lib")).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start("smtp", command, &folder.path().join("log"))?;
        let mut port = 0;
        process.wait_ready(START_LIMIT, || {
            let text = fs::read_to_string(folder.path().join("port"));
            let text = text.map_err(|_| "it does not listen yet".to_owned())?;
            port = text.parse().map_err(|_| format!("`{text}` is no port"))?;
            Ok(())
        })?;
        Ok(Self { _process: process, folder, port })
    }

    /// Its host name, which its certificate is for.
    #[must_use]
    pub const fn host(&self) -> &'static str {
        "localhost"
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The certificate, in PEM, of the authority that signed the server's.
    ///
    /// # Errors
    /// If the server is a plain one, which has none.
    pub fn authority_pem(&self) -> Result<String> {
        let path = self.folder.path().join("authority.pem");
        fs::read_to_string(&path).map_err(Error::io(format!("read `{}`", path.display())))
    }

    /// Answers the next mails with these replies instead of accepting them,
    /// such as `451 4.3.0 try again later` or `554 5.7.1 not wanted`.
    ///
    /// # Errors
    /// If the server's folder can't be written.
    pub fn refuse_next(&self, replies: &[&str]) -> Result<()> {
        let text = replies.iter().map(|reply| format!("{reply}\n")).collect::<String>();
        let part = self.folder.write("replies.new", text)?;
        fs::rename(part, self.folder.path().join("replies")).map_err(Error::io("script replies"))
    }

    /// All mails accepted so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Mail> {
        let lines = fs::read_to_string(self.folder.path().join("mails.jsonl"));
        lines.unwrap_or_default().lines().filter_map(Mail::parse).collect()
    }

    /// Waits until at least `count` mails were accepted; `None` after `limit`.
    #[must_use]
    pub fn wait_for_mails(&self, count: usize, limit: Duration) -> Option<Vec<Mail>> {
        wait_for(limit, || Some(self.received()).filter(|mails| mails.len() >= count))
    }
}

/// An authority (`authority.pem`) and a server certificate signed by it
/// (`cert.pem`, `key.pem`), on the P-256 curve: quicker to make than RSA.
pub(crate) fn make_certificate(folder: &RunFolder) -> Result<()> {
    const NEW_KEY: [&str; 5] =
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    folder.write(
        "extensions",
        "subjectAltName=DNS:localhost,IP:127.0.0.1\n\
         basicConstraints=critical,CA:FALSE\n\
         extendedKeyUsage=serverAuth\n",
    )?;
    let mut authority = vec!["req", "-x509", "-days", "2", "-subj", "/CN=tidewatch test authority"];
    authority.extend(NEW_KEY);
    authority.extend(["-keyout", "authority.key", "-out", "authority.pem"]);
    let mut request = vec!["req", "-new", "-subj", "/CN=localhost"];
    request.extend(NEW_KEY);
    request.extend(["-keyout", "key.pem", "-out", "request.pem"]);
    let sign = [
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "authority.pem",
        "-CAkey",
        "authority.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "extensions",
        "-out",
        "cert.pem",
    ];
    for arguments in [authority.as_slice(), &request, &sign] {
        openssl(folder.path(), arguments)?;
    }
    Ok(())
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().map_err(Error::io("start `openssl`"))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Refused { server: "openssl", action: "make a certificate".into(), reason })
}

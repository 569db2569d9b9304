"""A mail server for tests. Arguments: folder, security (plain, starttls, tls).

The folder holds cert.pem and key.pem (unless plain), user, password. It writes
port once it listens, and appends each accepted mail to mails.jsonl. The lines
of replies, if there are any, are used up as answers to the next mails.
"""

import asyncio
import json
import os
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, security = sys.argv[1:3]


def read(name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


def write_whole(name, text):
    path = os.path.join(folder, name)
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def next_reply():
    try:
        lines = read("replies").splitlines()
    except FileNotFoundError:
        return None
    if not lines:
        return None
    write_whole("replies", "".join(line + "\n" for line in lines[1:]))
    return lines[0]


def text_of(message, kind):
    part = message.get_body((kind,))
    return part.get_content() if part is not None else None


def clean(value):
    """Replaces what a mail may hold and JSON may not: bytes of no character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return value


class Handler:
    async def handle_DATA(self, server, session, envelope):
        scripted = next_reply()
        if scripted is not None:
            return scripted
        message = message_from_bytes(envelope.content, policy=policy.default)
        mail = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or security == "tls",
            "user": session.auth_data,
            "headers": [[key.lower(), str(value)] for key, value in message.items()],
            "text": text_of(message, "plain"),
            "html": text_of(message, "html"),
            "raw": envelope.content.decode("utf-8", "replace"),
        }
        with open(os.path.join(folder, "mails.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps(clean(mail)) + "\n")
        return "250 2.0.0 accepted"


def authenticate(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and (
        data.login.decode(), data.password.decode()
    ) == (read("user"), read("password"))
    return AuthResult(success=known, handled=False, auth_data=read("user") if known else None)


async def main():
    context = None
    if security != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))

    def session():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=context if security == "starttls" else None,
            require_starttls=security == "starttls",
            authenticator=authenticate,
            auth_required=True,
            auth_require_tls=security == "starttls",
        )

    server = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", 0, ssl=context if security == "tls" else None
    )
    write_whole("port", str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


asyncio.run(main())

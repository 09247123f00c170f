"""Hands in mail with Python's smtplib. Arguments: the ports for relaying, for submission, and with implicit TLS."""

import smtplib
import ssl
import sys

relay, submission, implicit = map(int, sys.argv[1:4])
anything = ssl.create_default_context()
anything.check_hostname = False
anything.verify_mode = ssl.CERT_NONE
PASSWORD = 's e"cret'


def text(name, body="hello\r\n"):
    return f"X-Test-Id: {name}\r\n\r\n{body}".encode()


with smtplib.SMTP("127.0.0.1", relay, "client.test") as client:
    client.ehlo()
    for keyword in ("pipelining", "size", "8bitmime", "smtputf8", "enhancedstatuscodes", "chunking", "dsn", "starttls", "limits"):
        assert client.has_extn(keyword), keyword
    assert not client.has_extn("auth"), "AUTH is only offered under TLS"
    client.sendmail("ann@sender.test", ["bob@a.test"], text("dsn"),
                    ["RET=HDRS", "ENVID=+2Bid"], ["NOTIFY=SUCCESS,FAILURE"])
    utf8 = "X-Test-Id: utf8\r\nSubject: gr\u00fcn\r\n\r\nh\u00e9llo\r\n".encode()
    client.sendmail("\u00fcnal@sender.test", ["j\u00f6rg@b\u00fccher.test"], utf8, ["SMTPUTF8", "BODY=8BITMIME"])
    client.sendmail("ann@sender.test", ["bob@a.test"], text("empty", ""))
    for number in range(100):
        client.sendmail("ann@sender.test", [f"bob{number}@domain{number % 7}.test"], text(f"many-{number}"))

    client.mail("ann@sender.test")
    client.rcpt("bob@a.test")
    chunks = [b"X-Test-Id: bdat\r\n", b"\r\n.\r\nno end of line"]
    client.send(b"BDAT %d\r\n" % len(chunks[0]) + chunks[0])
    assert client.getreply()[0] == 250
    client.send(b"BDAT %d LAST\r\n" % len(chunks[1]) + chunks[1])
    assert client.getreply()[0] == 250

with smtplib.SMTP("127.0.0.1", submission, "client.test") as client:
    client.starttls(context=anything)
    try:
        client.login("ann", "wrong")
        raise SystemExit("a wrong password was accepted")
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
    client.login("ann", PASSWORD)
    assert client.has_extn("requiretls")
    client.sendmail("ann@sender.test", ["bob@a.test"], text("login"))

with smtplib.SMTP_SSL("127.0.0.1", implicit, "client.test", context=anything) as client:
    client.login("ann", PASSWORD)
    client.sendmail("ann@sender.test", ["bob@a.test"], text("implicit"))

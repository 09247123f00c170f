"""What dkimpy says of the ARC chain of a message.

verify_arc.py FILE PORT: asks the name server at this port of 127.0.0.1.
"""

import sys

import dkim
import dns.resolver

path, port = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = ["127.0.0.1"]
resolver.port = int(port)


def text(name, timeout=5):
    answers = resolver.resolve(name.decode() if isinstance(name, bytes) else name, "TXT")
    return b"".join(answers[0].strings)


with open(path, "rb") as file:
    chain, _, reason = dkim.arc_verify(file.read(), dnsfunc=text)
print(chain.decode() if chain == dkim.CV_Pass else f"{chain} {reason}")

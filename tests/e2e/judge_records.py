"""What others say of the records of a domain: checkdmarc of DMARC and of who takes its reports, dkimpy of keys.

judge_records.py PORT DOMAIN SELECTOR...: asks the name server at this port of 127.0.0.1; one line for each fault.
"""

import sys

import dkim
import dns.resolver
from checkdmarc.dmarc import check_dmarc

port, domain, *selectors = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = ["127.0.0.1"]
resolver.port = int(port)


def text(name):
    answers = resolver.resolve(name.decode() if isinstance(name, bytes) else name, "TXT")
    return b"".join(answers[0].strings)


found = check_dmarc(domain, resolver=resolver)
if not found.get("valid"):
    print("dmarc:", found.get("error"))
for warning in found.get("warnings", []):
    # A domain begins with p=none, and its owner goes on from there.
    if "p tag value of none" not in warning:
        print("dmarc:", warning)
for selector in selectors:
    name = f"{selector}._domainkey.{domain}."
    try:
        key, size, kind, _ = dkim.load_pk_from_dns(name.encode(), lambda asked, timeout=5: text(asked), timeout=5)
        if (kind, size) not in [(b"rsa", 2048), (b"ed25519", 256)]:
            print(f"{selector}: {kind} of {size} bits")
    except Exception as error:
        print(f"{selector}: {error!r}")

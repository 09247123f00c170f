"""Verifies requests as the reference implementation of Standard Webhooks does.

verify_webhooks.py FILE SECRET...: each request of the file, with each secret; and that another secret or body is refused.
"""

import json
import sys
from unittest import mock

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

path, *secrets = sys.argv[1:]
other = Webhook("whsec_" + "B" * 32)
verified = 0
with open(path, encoding="utf-8") as file:
    requests = json.load(file)


def is_taken(webhook, body, fields):
    # It parses JSON as soon as it has verified.
    with mock.patch("json.loads", lambda text: text):
        try:
            webhook.verify(body, fields)
        except WebhookVerificationError:
            return False
    return True


for request in requests:
    body, fields = request["body"], request["fields"]
    assert all(is_taken(Webhook(secret), body, fields) for secret in secrets), fields
    assert not is_taken(other, body, fields), "another secret"
    assert not is_taken(Webhook(secrets[0]), body + "x", fields), "another body"
    verified += 1
print(verified, "verified")

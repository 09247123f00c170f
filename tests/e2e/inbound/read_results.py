"""What authres reads in the first Authentication-Results field of each message of a JSON list; one line of JSON for each."""

import email
import json
import sys

import authres

with open(sys.argv[1], encoding="utf-8") as file:
    messages = json.load(file)
for text in messages:
    field = email.message_from_string(text).get_all("Authentication-Results")[0]
    field = " ".join(field.split())
    parsed = authres.AuthenticationResultsHeader.parse("Authentication-Results: " + field)
    found = {"authserv_id": parsed.authserv_id}
    for result in parsed.results:
        properties = {f"{one.type}.{one.name}": one.value for one in result.properties}
        name = "helo" if "smtp.helo" in properties else result.method
        found[name] = result.result
        if result.method == "dmarc":
            found["from"] = properties.get("header.from")
    # A report has no return path of its own.
    found.setdefault("spf", found.get("helo"))
    print(json.dumps(found))

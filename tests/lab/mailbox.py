#!/usr/bin/python3
"""Prints the mails of a Maildir in order of arrival, as JSON, read by a mail library that is not ours.

    mailbox.py MAILDIR
"""

import email
import email.policy
import json
import pathlib
import sys

mails = []
# A rename to new/ is the arrival, and sets the change time; the names are ordered by seconds only.
files = [file for file in pathlib.Path(sys.argv[1]).glob("new/*") if file.is_file()]
for file in sorted(files, key=lambda file: file.stat().st_ctime_ns):
    raw = file.read_bytes()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    text = message.get_body(("plain",))
    mails.append(
        {
            "arrived": file.stat().st_ctime_ns // 1000,
            "headers": [[name, str(value)] for name, value in message.items()],
            "body": text.get_content() if text else "",
            "raw": raw.decode("utf-8", "replace"),
        }
    )
json.dump(mails, sys.stdout)

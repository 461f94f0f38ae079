"""Refuses a commit whose subject is longer than 72 characters: commit_subject.py MESSAGE_FILE."""

import sys
from pathlib import Path

LONGEST = 72

lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
subject = next((line for line in lines if line.strip() and not line.startswith("#")), "")
if len(subject) > LONGEST:
    sys.exit(f"the subject has {len(subject)} characters, at most {LONGEST} are allowed: {subject}")

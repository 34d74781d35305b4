"""The supervisor's own contract as data: system calls, requests, HOBs, mailboxes, telemetry, profiles."""

# Retrying for ever ends with the age limit; the dead letter says how often it was tried.
config batch=2 age=60s backoff=30s
put 2
    invoke 1-2
fail 1-2
wait 38s
    invoke 1-2, attempt 2, invocation 2
fail 1-2
wait 60s
    bury 1 RecordAgeExceeded, attempts 2, 1 of 2
    bury 2 RecordAgeExceeded, attempts 2, 2 of 2

# The age of a redriven letter counts from the command, and is looked at before
# each invocation.
config batch=10 age=60s backoff=50s
seen invoke bury commit
put a age=2m
    commit next 2 urgent
    bury 1 RecordAgeExceeded, attempts 0, 1 of 1
redrive X:a
    commit next 2 urgent redrive X attempts 0
    invoke X
fail X
    commit next 2 urgent redrive X attempts 1
wait 60s
    invoke X, attempt 2, invocation 2
fail X
    commit next 2 urgent redrive X attempts 2
wait 70s
    commit next 2 urgent redriven X
    bury X RecordAgeExceeded, attempts 2, 1 of 1

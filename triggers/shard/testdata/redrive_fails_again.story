# A redrive has a full quota of its own and backs off like a unit; given up, it is a
# dead letter again. What follows in its bucket waits for that to be durable.
config batch=10 retries=1 backoff=1s
seen invoke commit bury
redrive X:a
    commit next 1 urgent redrive X attempts 0
    invoke X
throttle X
    commit next 1 redrive X attempts 0
wait 100ms
    invoke X, attempt 1, invocation 2
fail X emit=1
    commit next 1 urgent redrive X attempts 1
status
    next 1, read 0, waiting 0, out 0: no records: everything stored has been read
    redrive X, attempts 1: back-off
put a a
wait 2s
    invoke X, attempt 2, invocation 3
hold commits
fail X emit=1
    commit next 1 urgent redriven X
    bury X RetryAttemptsExhausted, attempts 2, 1 of 1
status
    next 1, read 2, waiting 2, out 0: all records read belong to keys whose earlier records, or dead letters that are redriven, are not resolved yet
commit ok
    invoke 1-2
done 1-2
    commit next 3

# A partial reply is not asked for, and done, or names the one record that there is.
config batch=10 retries=1 backoff=1s
seen invoke bury commit
redrive W:c
    commit next 1 urgent redrive W attempts 0
    invoke W
partial W at=0 emit=1
    commit next 1 urgent redriven W outputs W.0
config partial
seen invoke bury
redrive X:a Y:b
    invoke X
partial X at=bad
    invoke Y
partial Y at=0
wait 2s
    invoke X, attempt 2, invocation 2
done X
    invoke Y, attempt 2, invocation 2
partial Y at=bad
    bury Y RetryAttemptsExhausted, attempts 2, 1 of 1

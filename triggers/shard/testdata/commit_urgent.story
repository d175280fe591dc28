# A failure goes at once although other work is out, and a dead letter too.
config parallel=2 batch=1 retries=1
seen invoke commit bury
put a b
    invoke 1
    invoke 2
fail 1
    commit next 1 urgent unit 1-1 attempts 1
wait 1s
    invoke 1, attempt 2, invocation 2
fail 1
    commit next 2 urgent
    bury 1 RetryAttemptsExhausted, attempts 2, 1 of 1

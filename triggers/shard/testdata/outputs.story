# Outputs are committed, at once, with the records they come from; those of a
# throttled or failed invocation never.
config parallel=2 batch=2 retries=1 backoff=1s
seen invoke commit bury
put a a b b
    invoke 1-2
    invoke 3-4
done 1-2 emit=2
    commit next 3 urgent outputs 1.0,1.1,2.0,2.1
throttle 3-4 emit=1
    commit next 3 unit 3-4 attempts 0
wait 100ms
    invoke 3-4, attempt 1, invocation 2
fail 3-4 emit=1
    commit next 3 urgent unit 3-4 attempts 1
wait 2s
    invoke 3-4, attempt 2, invocation 3
fail 3-4 emit=1
    commit next 5 urgent
    bury 3 RetryAttemptsExhausted, attempts 2, 1 of 2
    bury 4 RetryAttemptsExhausted, attempts 2, 2 of 2

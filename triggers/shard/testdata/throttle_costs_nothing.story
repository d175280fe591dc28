# esm.md 6.1.2: only function errors use the quota. Throttles and failures of
# the host are tried again after a wait of their own, for ever.
config batch=3 retries=0
put 3
    invoke 1-3
throttle 1-3
wait 100ms
    invoke 1-3, attempt 1, invocation 2
infra 1-3
wait 200ms
    invoke 1-3, attempt 1, invocation 3
throttle 1-3
wait 400ms
    invoke 1-3, attempt 1, invocation 4
fail 1-3
    bury 1 RetryAttemptsExhausted, attempts 1, 1 of 3
    bury 2 RetryAttemptsExhausted, attempts 1, 2 of 3
    bury 3 RetryAttemptsExhausted, attempts 1, 3 of 3

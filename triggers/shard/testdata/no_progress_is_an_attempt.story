# esm.md 6.1.4: the first record named is no progress but an ordinary failed attempt.
config batch=3 retries=1 partial
put 3
    invoke 1-3
partial 1-3 at=1
wait 1s
    invoke 1-3, attempt 2, invocation 2
partial 1-3 at=1
    bury 1 RetryAttemptsExhausted, attempts 2, 1 of 3
    bury 2 RetryAttemptsExhausted, attempts 2, 2 of 3
    bury 3 RetryAttemptsExhausted, attempts 2, 3 of 3

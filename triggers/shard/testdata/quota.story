# esm.md 6.1.1: a batch without progress is invoked 1 + retries times, and given up whole.
config batch=3 retries=2
put 3
    invoke 1-3
fail 1-3
wait 1s
    invoke 1-3, attempt 2, invocation 2
timeout 1-3
wait 2s
    invoke 1-3, attempt 3, invocation 3
fail 1-3
    bury 1 RetryAttemptsExhausted, attempts 3, 1 of 3
    bury 2 RetryAttemptsExhausted, attempts 3, 2 of 3
    bury 3 RetryAttemptsExhausted, attempts 3, 3 of 3
# 6.1.5: after a discarded batch the shard goes on.
put 1
    invoke 4

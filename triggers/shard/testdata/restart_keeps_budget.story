# The retry state is durable before the next attempt, so a restart resets no
# quota; the invocation that was out is repeated and was not counted.
config batch=4 retries=2
seen invoke bury commit
put 4
    invoke 1-4
fail 1-4
    commit next 1 urgent unit 1-4 attempts 1
restart
wait 1s
    invoke 1-4, attempt 2, invocation 2
restart
    invoke 1-4, attempt 2, invocation 2
fail 1-4
    commit next 1 urgent unit 1-4 attempts 2
wait 2s
    invoke 1-4, attempt 3, invocation 3
fail 1-4
    commit next 5 urgent
    bury 1 RetryAttemptsExhausted, attempts 3, 1 of 4
    bury 2 RetryAttemptsExhausted, attempts 3, 2 of 4
    bury 3 RetryAttemptsExhausted, attempts 3, 3 of 4
    bury 4 RetryAttemptsExhausted, attempts 3, 4 of 4

# The stack of open units survives: the half that was out, and the one that waits.
config batch=8 retries=1 bisect
seen invoke bury commit
put 8
    invoke 1-8
fail 1-8
    invoke 1-4
    commit next 1 urgent unit 1-4 attempts 0 unit 5-8 attempts 0
fail 1-4
    invoke 1-2
    commit next 1 urgent unit 1-2 attempts 0 unit 3-4 attempts 0 unit 5-8 attempts 0
done 1-2
    invoke 3-4
wait 5ms
    commit next 3 unit 3-4 attempts 0 unit 5-8 attempts 0
restart
    invoke 3-4
fail 3-4
    invoke 3
    commit next 3 urgent unit 3-3 attempts 0 unit 4-4 attempts 0 unit 5-8 attempts 0
restart
    invoke 3
fail 3
    commit next 3 urgent unit 3-3 attempts 1 unit 4-4 attempts 0 unit 5-8 attempts 0
wait 1s
    invoke 3, attempt 2, invocation 2
restart
    invoke 3, attempt 2, invocation 2
done 3
    invoke 4
wait 5ms
    commit next 4 unit 4-4 attempts 0 unit 5-8 attempts 0
fail 4
    commit next 4 urgent unit 4-4 attempts 1 unit 5-8 attempts 0
wait 1s
    invoke 4, attempt 2, invocation 2
restart
    invoke 4, attempt 2, invocation 2
fail 4
    commit next 5 urgent unit 5-8 attempts 0
    bury 4 RetryAttemptsExhausted, attempts 2, 1 of 1
    invoke 5-8
restart
    invoke 5-8
done 5-8
    commit next 9

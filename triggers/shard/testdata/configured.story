# An invocation is judged by the settings it was started with; what comes next by
# the new ones. A unit that has used up a quota made smaller is given up at once.
config batch=2 retries=-1
put 4
    invoke 1-2
fail 1-2
wait 1s
    invoke 1-2, attempt 2, invocation 2
config retries=0
fail 1-2
    bury 1 RetryAttemptsExhausted, attempts 2, 1 of 2
    bury 2 RetryAttemptsExhausted, attempts 2, 2 of 2
    invoke 3-4
config batch=1 retries=-1
put 1
done 3-4
    invoke 5

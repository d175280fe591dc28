# Fewer retries than a waiting letter has used bury it; one that is out is judged by
# the settings it was started with.
config batch=10 retries=5 backoff=10s
seen invoke bury commit
redrive X:a
    commit next 1 urgent redrive X attempts 0
    invoke X
fail X
    commit next 1 urgent redrive X attempts 1
wait 15s
    invoke X, attempt 2, invocation 2
fail X
    commit next 1 urgent redrive X attempts 2
put a
config retries=1
    commit next 1 urgent redriven X
    bury X RetryAttemptsExhausted, attempts 2, 1 of 1
    invoke 1
done 1
    commit next 2
config retries=0
redrive Y:b
    commit next 2 urgent redrive Y attempts 0
    invoke Y
config retries=3
fail Y
    commit next 2 urgent redriven Y
    bury Y RetryAttemptsExhausted, attempts 1, 1 of 1

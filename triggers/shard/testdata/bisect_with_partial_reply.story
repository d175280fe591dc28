# esm.md 6.4, both on: a partial reply splits at the id and only the rest goes
# on, whole and at once; an error halves it. A partial reply without progress is
# an ordinary failed attempt, and halves.
config batch=8 retries=1 bisect partial
put 8
    invoke 1-8
partial 1-8 at=5
    invoke 5-8
fail 5-8
    invoke 5-6
partial 5-6 at=5
    invoke 5
partial 5 at=5
wait 1s
    invoke 5, attempt 2, invocation 2
partial 5 at=5
    bury 5 RetryAttemptsExhausted, attempts 2, 1 of 1
    invoke 6
done 6
    invoke 7-8
done 7-8

# Nothing that follows a dead letter in its bucket is invoked before it is durable.
config parallel=2 batch=1 retries=0
seen invoke commit bury
hold commits
put a b a b
    invoke 1
    invoke 2
fail 1
    commit next 2 urgent
    bury 1 RetryAttemptsExhausted, attempts 1, 1 of 1
done 2
    invoke 4
status
    next 3, read 4, waiting 1, out 1: 
    unit 2-1, 0 records, attempts 1: commit
    unit 4-4, 1 records, attempts 0: out
commit ok
    invoke 3

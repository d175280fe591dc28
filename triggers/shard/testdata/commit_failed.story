# Nobody knows whether a failed commit is there. The same one is asked for again,
# nothing newer goes before it, and nothing is invoked meanwhile.
config batch=1 retries=0
seen invoke commit bury wake
hold commits
put 3
    invoke 1
fail 1
    commit next 2 urgent
    bury 1 RetryAttemptsExhausted, attempts 1, 1 of 1
commit lost
    wake in 110ms
status
    next 2, read 3, waiting 2, out 0: the journal cannot be written; nothing is invoked until it can
    unit 2-1, 0 records, attempts 1: commit
wait 200ms
    commit next 2 urgent
    bury 1 RetryAttemptsExhausted, attempts 1, 1 of 1
commit failed
    wake in 249ms
wait 1s
    commit next 2 urgent
    bury 1 RetryAttemptsExhausted, attempts 1, 1 of 1
commit ok
    invoke 2

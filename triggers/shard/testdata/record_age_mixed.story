# esm.md 6.2: the age is looked at before each invocation, for each record, also
# where arrival times are out of order. The rest goes in one batch, but not
# before the dead letters are durable. A record from the future has age 0.
config batch=10 age=60s
seen invoke bury commit
hold commits
hold fetches
put a a age=59s
put b a age=80s
put c a age=-100s
fetch
    commit next 1 urgent finished 3-3 of b finished 4-4 of a
    bury 3 RecordAgeExceeded, attempts 0, 3 of 6
    bury 4 RecordAgeExceeded, attempts 0, 4 of 6
commit ok
    invoke 1-2,5-6
fail 1-2,5-6
    commit next 1 urgent finished 3-3 of b finished 4-4 of a unit 1-6 attempts 1
status
    next 1, read 6, waiting 0, out 0: every slot is in back-off after failures
    unit 1-6, 4 records, attempts 1: back-off
wait 1s
commit ok
    invoke 1-2,5-6, attempt 2, invocation 2

# An all-filtered poll: no invocation, and the checkpoint moves on.
config batch=3
seen invoke commit
filter 1-5
put 5
    commit next 6
status
    next 6, read 5, waiting 0, out 0: no records: everything stored has been read

# Those of what is before the lowest failed record are committed with it; the
# others are emitted again when their records run again.
config batch=4 retries=1 backoff=1s partial
seen invoke commit bury
put 4
    invoke 1-4
partial 1-4 at=3 emit=1
    invoke 3-4
    commit next 3 urgent unit 3-4 attempts 0 outputs 1.0,2.0
partial 3-4 at=3 emit=1
    commit next 3 urgent unit 3-4 attempts 1
wait 2s
    invoke 3-4, attempt 2, invocation 2
partial 3-4 at=4 emit=1
    invoke 4
    commit next 4 urgent unit 4-4 attempts 0 outputs 3.0
done 4 emit=1
    commit next 5 urgent outputs 4.0
